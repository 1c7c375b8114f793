"""Git repositories that tests make, and an app whose source is in one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app

IDENTITY = {
    f"GIT_{who}_{key}": value
    for who in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "t"), ("EMAIL", "t@example.com"))
}


class Repository:
    """A repository with a work tree.

    :param path: its directory; it has no commit at first, and its branch is ``main``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seconds = 1_700_000_000
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        # As forges have it.
        self.git("config", "uploadpack.allowFilter", "true")

    @property
    def url(self) -> str:
        """What an app's file would say."""
        return str(self.path)

    def git(self, *arguments: str) -> str:
        """Run git and return what it says."""
        moment = {f"GIT_{who}_DATE": f"{self._seconds} +0000" for who in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                **IDENTITY,
                **moment,
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
            },
        )
        return done.stdout.strip()

    def commit(self, *options: str, **files: str) -> str:
        """Commit files, one minute later than the commit before; return the revision."""
        self._seconds += 60
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            self.git("add", "--", name)
        self.git("commit", "-q", "--allow-empty", "-m", f"at {self._seconds}", *options)
        return self.git("rev-parse", "HEAD")


def app_of(repository: str, **policy: Any) -> App:
    """Return an app whose source is in a repository, with this policy."""
    app = load_app("my_perl_app")
    return app.model_copy(
        update={"repository": repository, "policy": type(app.policy).model_validate(policy)}
    )
