"""What is hidden in a job's log: what the app runs with on this droplet, or is about to.

Each value of its environment is, and of delivered files what looks like a secret.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.configuration import content_of
from agent.droplet.app_paths import AppPaths
from agent.droplet.jobs import Job
from agent.droplet.mask import Mask, environment_of, secrets_in


class JobMask:
    """What is hidden of a job's lines; it is made anew when a file that it comes from has changed.

    An app's last words may be those of an older release, so every configuration on the droplet counts. The
    job's own counts before it is written.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._signature: object = None
        self._mask = Mask()

    def update(self) -> None:
        """Read what has changed: people may change the environment while the job is at work."""
        app = self.job.app
        signature = [_signature(path) for path in (*_environments(app), self.job.program)]
        if signature != self._signature:
            self._mask = app_mask(app, *_delivered_by(self.job.program))
            self._signature = signature

    def __call__(self, line: str) -> str:
        """Return a line without the values."""
        return self._mask(line)


def app_mask(app: AppPaths, *others: Mapping[str, str]) -> Mask:
    """Return what hides everything that an app's configurations have on this droplet.

    :param others: variables, or what is secret in files, besides that.
    """
    return Mask(
        *map(environment_of, _environments(app)),
        *map(_in_file, app.configurations.glob("*/files/**/*")),
        *others,
    )


def _environments(app: AppPaths) -> list[Path]:
    return [app.environment, *sorted(app.configurations.glob("*/environment"))]


def _signature(path: Path) -> object:
    try:
        about = path.stat()
    except OSError:
        return None
    return str(path), about.st_ino, about.st_size, about.st_mtime_ns


def _in_file(path: Path) -> dict[str, str]:
    # A job may be removing its configuration right now.
    with contextlib.suppress(FileNotFoundError):
        return _named(path.name, path.read_bytes()) if path.is_file() else {}
    return {}


def _named(name: str, data: bytes) -> dict[str, str]:
    """Return what is secret in a delivered file, as lines of one value with the file's name."""
    return {name: "\n".join(sorted(secrets_in(data.decode(errors="replace"))))}


def _delivered_by(program: Path) -> list[dict[str, str]]:
    """Return what the configurations hold that a job's steps deliver."""
    found: list[dict[str, str]] = []
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        for step in json.loads(program.read_bytes())["steps"]:
            wanted: Any = step["request"].get("configuration")
            if isinstance(wanted, dict):
                found.append(dict(wanted["variables"]))
                found += [_named(Path(one["path"]).name, content_of(one)) for one in wanted["files"]]
    return found
