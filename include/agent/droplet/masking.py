"""What is hidden in a job's log: every value that the app runs with on this droplet, or is about to."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from agent.droplet.jobs import Job
from agent.droplet.mask import Mask, environment_of


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
        environments = [app.environment, *sorted(app.configurations.glob("*/environment"))]
        signature = [_signature(path) for path in (*environments, self.job.program)]
        if signature != self._signature:
            self._mask = Mask(*map(environment_of, environments), *_delivered_by(self.job.program))
            self._signature = signature

    def __call__(self, line: str) -> str:
        """Return a line without the values."""
        return self._mask(line)


def _signature(path: Path) -> object:
    try:
        about = path.stat()
    except OSError:
        return None
    return str(path), about.st_ino, about.st_size, about.st_mtime_ns


def _delivered_by(program: Path) -> list[dict[str, str]]:
    """Return the variables of the configurations that a job's steps deliver."""
    found: list[dict[str, str]] = []
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        steps: list[Any] = json.loads(program.read_bytes())["steps"]
        found += [
            dict(step["request"]["configuration"]["variables"])
            for step in steps
            if isinstance(step["request"].get("configuration"), dict)
        ]
    return found
