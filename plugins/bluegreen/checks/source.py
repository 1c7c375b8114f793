"""What is in the revision that a deploy would build: read here, from a temporary clone without history."""

from __future__ import annotations

import subprocess
from tempfile import TemporaryDirectory

from bluegreen.checks.facts import Source
from bluegreen.git import fatal_line, resolve_ref, run_git

SECONDS = 60.0

# Files of this size are not fetched: only names are needed of what is vendored.
LARGEST_FILE = "1m"


def read_source(repository: str, ref: str) -> Source:
    """Resolve a ref and list what it leads to.

    :raises RefError: if the ref is malformed or not there, or the repository does not answer.
    """
    revision = resolve_ref(repository, ref)
    with TemporaryDirectory(prefix="bluegreen-") as directory:
        try:
            return _read(directory, repository, ref, revision)
        except subprocess.TimeoutExpired:
            return Source(ref, revision, problem=f"not within {SECONDS:g} s")


def _read(directory: str, repository: str, ref: str, revision: str) -> Source:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_git("-C", directory, *arguments, timeout=SECONDS)

    for command in (
        ("init", "--quiet", "--bare"),
        ("remote", "add", "origin", repository),
        ("fetch", "--quiet", "--depth=1", f"--filter=blob:limit={LARGEST_FILE}", "origin", revision),
    ):
        done = git(*command)
        if done.returncode != 0:
            return Source(ref, revision, problem=fatal_line(done.stderr))
    files = frozenset(git("ls-tree", "-r", "-z", "--name-only", revision).stdout.split("\0")) - {""}

    def text(path: str) -> str | None:
        return git("show", f"{revision}:{path}").stdout if path in files else None

    return Source(ref, revision, files=files, cpanfile=text("cpanfile"), snapshot=text("cpanfile.snapshot"))
