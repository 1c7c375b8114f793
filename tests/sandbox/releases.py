"""Steps with releases on a droplet, for several modules of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from bluegreen.release.jobs import JobState
from bluegreen.release.release import failure_cause
from tests.sandbox.app_droplet import AppDroplet
from tests.waiting import until

Commit = Callable[[str, Callable[[Path], None]], str]


def running(droplet: AppDroplet, revision: str, kept: str | None = None, **changes: Mapping[str, Any]) -> str:
    """Deploy what must work; return the release's name."""
    report = droplet.deploy(revision, kept, **changes)
    assert report.state is JobState.SUCCESS, report.lines
    assert answering(droplet) == revision
    return droplet.built(revision, **changes).release


def answering(droplet: AppDroplet) -> str:
    """Return the revision that answers."""
    return droplet.get().headers["X-Revision"]


def comes_back(droplet: AppDroplet, revision: str) -> None:
    """Wait until the droplet answers again after a deploy that failed: nobody else does."""

    def answers() -> bool:
        with suppress(requests.ConnectionError):
            return answering(droplet) == revision
        return False

    until(answers, f"{revision} answers again")


def refused(droplet: AppDroplet, revision: str, kept: str | None = None, **changes: Mapping[str, Any]) -> str:
    """Deploy what must not work; return the cause that the user is shown."""
    report = droplet.deploy(revision, kept, **changes)
    assert report.state is JobState.FAILED, report.lines
    assert report.lines[-1].startswith("bluegreen: "), report.lines
    return failure_cause(report.lines)
