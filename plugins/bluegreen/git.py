"""Git refs: what a user may type, and which revision it means in a repository."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

from bluegreen.errors import RefError

# A branch, a tag or a commit, as JSON Schema (which Airflow's trigger form and REST API check with
# re.search, so `$` alone would let a final line break through) and as Python.
REF_PATTERN = r"^(?!.*(\.\.|//|@\{|\.lock$|/$|\.$))[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,199}$(?!\n)"

ALLOWED_PROTOCOLS = "http:https:ssh"

# In which a repository has to tell what its branches and tags are.
ANSWER_SECONDS = 30

WHAT_A_REF_MAY_BE = (
    "a ref is a branch, a tag or a commit: 1 to 200 letters, digits and . _ / + @ -, "
    "starting with a letter, a digit or _, without '..', '//' and '@{', not ending in '/', '.' or '.lock'"
)

_REVISION = re.compile(r"[0-9a-f]{40}")
_SHORT_REVISION = re.compile(r"[0-9a-f]{7,39}")


def check_ref(ref: object) -> str:
    """Return the ref if it is well-formed.

    :raises RefError: saying what was found and what a ref may be.
    """
    if not isinstance(ref, str) or not re.fullmatch(REF_PATTERN, ref):
        shown = ref if not isinstance(ref, str) or len(ref) <= 60 else f"{ref[:60]}… ({len(ref)} characters)"
        raise RefError(f"refused ref {shown!r}: {WHAT_A_REF_MAY_BE}")
    return ref


def resolve_ref(repository: str, ref: str) -> str:
    """Ask the repository which commit a ref means now.

    A full commit id is taken as it is: a remote lists its branches and tags only, so whether the commit
    exists is found out by the droplets' own fetch.

    :param repository: URL of the repository, as in the app's settings.
    :param ref: branch, tag (annotated ones are peeled) or commit id of 40 hex digits.
    :return: the revision, 40 hex digits.
    :raises RefError: if the ref is malformed, ambiguous or not there, or the repository does not answer.
    """
    check_ref(ref)
    if _REVISION.fullmatch(ref):
        return ref
    listing = _ls_remote(repository, ref)
    if revision := revision_in(listing, ref):
        _refuse_ambiguous(listing, repository, ref, revision)
        return revision
    advice = "push it, or check the spelling"
    if _SHORT_REVISION.fullmatch(ref):
        advice = "a commit is named by all 40 digits"
    raise RefError(f"there is no branch or tag {ref!r} in {repository}; {advice}")


def _refuse_ambiguous(listing: dict[str, str], repository: str, ref: str, revision: str) -> None:
    branch = listing.get(f"refs/heads/{ref}", revision)
    if branch != revision:
        raise RefError(
            f"{ref!r} is both a tag ({revision[:12]}) and a branch ({branch[:12]}) in {repository}; "
            "name the commit instead"
        )


def patterns_of(ref: str) -> list[str]:
    """Return what a remote may call a branch or tag, for ``git ls-remote``."""
    return [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}"]


def revision_in(listing: Mapping[str, str], ref: str) -> str | None:
    """Return which commit a ref means in what a remote listed, or ``None`` if it is not there."""
    names = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}")
    return next((listing[name] for name in names if name in listing), None)


def run_git(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run git where Airflow runs its tasks; it asks nobody anything.

    :raises RefError: if it is not installed.
    :raises subprocess.TimeoutExpired: after ``timeout`` seconds.
    """
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ALLOWED_PROTOCOLS,
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
    }
    try:
        return subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise RefError("git is not installed where Airflow runs its tasks") from None


def fatal_line(stderr: str) -> str:
    """Return the line that tells; after an SSH failure git goes on for lines, and it is not the last."""
    said = stderr.strip().splitlines()
    return next((line for line in said if line.startswith("fatal:")), said[-1] if said else "no reason")


def _ls_remote(repository: str, ref: str) -> dict[str, str]:
    try:
        answer = run_git("ls-remote", "--", repository, *patterns_of(ref), timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise RefError(
            f"{repository} did not answer within {ANSWER_SECONDS} s, so {ref!r} is not resolved"
        ) from None
    if answer.returncode != 0:
        raise RefError(f"cannot read {repository} to resolve {ref!r}: {fatal_line(answer.stderr)}")
    return {name: revision for revision, name in (line.split("\t", 1) for line in answer.stdout.splitlines())}
