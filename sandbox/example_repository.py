"""An example of ``examples/`` as a git repository: the app, and the releases that patches make from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# When the first release of each example was committed, in seconds since the epoch.
FIRST_COMMIT = 1_767_600_000
DAY = 86_400

# `carton install` leaves these behind; git leaves out what an example names in its .gitignore.
LEFTOVERS = shutil.ignore_patterns("local", ".carton")

AUTHOR = {"NAME": "My Perl app", "EMAIL": "my-perl-app@example.com"}


@dataclass(frozen=True)
class Release:
    """A release of an example.

    :param tag: its tag, and the name of its patch in ``examples/<name>.releases/``.
    :param parent: the tag of the release that the patch is for; none if the release is the example as it is.
    """

    tag: str
    parent: str | None = None


@dataclass(frozen=True)
class Example:
    """An app in ``examples/<name>``.

    :param releases: in the order of their commits, which are a day apart.
    :param main: the tag of the release that the branch ``main`` is at.
    """

    name: str
    releases: tuple[Release, ...]
    main: str

    def build_repository(self, path: Path) -> dict[str, str]:
        """Create the bare repository, or bring its tags and ``main`` up to date if it exists.

        Commits are the same on every machine as long as the example is. Other branches and tags stay.

        :param path: path of the repository; its parent directory must exist.
        :return: the revision of each tag.
        :raises RuntimeError: if git fails; the message has git's output.
        """
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
            work_tree = Path(directory) / "work"
            revisions = self._commit_releases(work_tree)
            if not path.exists():
                bare = Path(directory) / "bare.git"
                run_git(Path(directory), "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
                self._publish(work_tree, bare)
                bare.rename(path)
            else:
                self._publish(work_tree, path)
        return revisions

    def _commit_releases(self, work_tree: Path) -> dict[str, str]:
        shutil.copytree(EXAMPLES / self.name, work_tree, ignore=LEFTOVERS)
        run_git(work_tree, "init", "--quiet", "--initial-branch=main")
        revisions: dict[str, str] = {}
        for days, release in enumerate(self.releases):
            if release.parent:
                patch = EXAMPLES / f"{self.name}.releases" / f"{release.tag}.patch"
                run_git(work_tree, "checkout", "--quiet", "--detach", release.parent)
                run_git(work_tree, "apply", "--index", str(patch))
            else:
                run_git(work_tree, "add", "--all")
            message = f"Release {release.tag}"
            seconds = FIRST_COMMIT + days * DAY
            run_git(work_tree, "commit", "--quiet", "--no-verify", "--message", message, seconds=seconds)
            run_git(work_tree, "tag", release.tag)
            revisions[release.tag] = run_git(work_tree, "rev-parse", "HEAD")
        return revisions

    def _publish(self, work_tree: Path, bare: Path) -> None:
        main = f"{self.main}^{{commit}}:refs/heads/main"
        run_git(work_tree, "push", "--quiet", "--force", str(bare), main, "refs/tags/*")


def run_git(directory: Path, *arguments: str, seconds: int = FIRST_COMMIT) -> str:
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
