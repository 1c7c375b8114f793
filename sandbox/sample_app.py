"""The sample application as a git repository: ``examples/my_perl_app`` and the releases made from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
APP = EXAMPLES / "my_perl_app"
PATCHES = EXAMPLES / "my_perl_app.releases"

MAIN = "v2"

# Tag, the tag it is based on, and the time of its commit (seconds since the epoch).
RELEASES = (
    ("v1", None, 1_767_600_000),
    ("v2", "v1", 1_767_686_400),
    ("v3-broken", "v2", 1_767_772_800),
    ("v4-bad", "v2", 1_767_859_200),
    ("v5-flaky", "v2", 1_767_945_600),
    ("v6-slow", "v2", 1_768_032_000),
    ("v7-https", "v2", 1_768_118_400),
    ("v8-https-bad", "v7-https", 1_768_204_800),
    ("v9-mounted", "v2", 1_768_291_200),
)

# `carton install` leaves these behind when somebody tries the example.
LEFTOVERS = shutil.ignore_patterns("local", ".carton")

AUTHOR = {"NAME": "My Perl app", "EMAIL": "my-perl-app@example.com"}


def build_repository(path: Path) -> dict[str, str]:
    """Create the bare repository, or bring its tags and ``main`` up to date if it exists.

    Commits are the same on every machine as long as the example is. Other branches and tags are left alone.

    :param path: path of the repository; its parent directory must exist.
    :return: the revision of each tag.
    :raises RuntimeError: if git fails; the message has git's output.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
        work_tree = Path(directory) / "work"
        revisions = _commit_releases(work_tree)
        if not path.exists():
            bare = Path(directory) / "bare.git"
            run_git(Path(directory), "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
            _publish(work_tree, bare)
            bare.rename(path)
        else:
            _publish(work_tree, path)
    return revisions


def _commit_releases(work_tree: Path) -> dict[str, str]:
    shutil.copytree(APP, work_tree, ignore=LEFTOVERS)
    run_git(work_tree, "init", "--quiet", "--initial-branch=main")
    revisions: dict[str, str] = {}
    for tag, parent, seconds in RELEASES:
        if parent:
            run_git(work_tree, "checkout", "--quiet", "--detach", parent)
            run_git(work_tree, "apply", "--index", str(PATCHES / f"{tag}.patch"))
        else:
            run_git(work_tree, "add", "--all")
        run_git(work_tree, "commit", "--quiet", "--no-verify", "--message", f"Release {tag}", seconds=seconds)
        run_git(work_tree, "tag", tag)
        revisions[tag] = run_git(work_tree, "rev-parse", "HEAD")
    return revisions


def _publish(work_tree: Path, bare: Path) -> None:
    run_git(
        work_tree,
        "push",
        "--quiet",
        "--force",
        str(bare),
        f"{MAIN}^{{commit}}:refs/heads/main",
        "refs/tags/*",
    )


def run_git(directory: Path, *arguments: str, seconds: int = RELEASES[0][2]) -> str:
    """Run git and return its output; no setting of the machine (signing, hooks, line ends) has an effect.

    :param seconds: the time of a commit, since the epoch.
    :raises RuntimeError: if git fails; the message has git's output.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()},
        **{f"GIT_{who}_DATE": f"{seconds} +0000" for who in ("AUTHOR", "COMMITTER")},
    }
    command = ["git", "-C", str(directory), "-c", "core.fileMode=false", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"git {arguments[0]} failed: {answer.stderr.strip()}")
    return answer.stdout.strip()
