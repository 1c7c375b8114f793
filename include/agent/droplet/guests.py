"""One-off commands: jobs that are guests on a droplet.

They belong to no run that claims the droplet, so none of its runs ends them; and they change nothing that a
run would have to know.

A command is started once for its run, whoever dies meanwhile. Only the droplet knows whether it was started:
a task may die after any call, and a unit is gone after a restart. So a file remembers each command from
before its start, and how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.droplet.app_paths import AppPaths
from agent.migration import RanCommand
from agent.one_off import GONE
from agent.protocol import LONGEST_JOB, AgentError, Code, Json
from agent.system import sync_directory, write_atomically

# How the unit of each begins. No app's name does, so no job of a run is called like that.
PREFIX = "bluegreen-run-"
# Seconds for which a command is remembered: a run may wait for days for an Airflow that is down.
REMEMBERED = 30 * 86400
# Bytes of how a command ended; what is shown of a command is short.
LARGEST_END = 4096


def is_guest(unit: str) -> bool:
    """Return whether a job is one, by its unit's name."""
    return unit.startswith(PREFIX)


def in_use(app: AppPaths) -> tuple[set[str], set[str]]:
    """Return the releases and the configurations that one-off commands of an app run with."""
    asked = [step for path in _programs(app) for step in _steps(path)]
    return {str(one.get("release")) for one in asked}, {str(one.get("configuration")) for one in asked}


def forgotten(app: AppPaths) -> list[str]:
    """Return the units of one-off commands that are over, and whose result nobody has fetched for days."""
    return [
        path.parent.name for path in _programs(app) if time.time() - path.stat().st_mtime > 2 * LONGEST_JOB
    ]


def require_first_start(app: AppPaths, unit: str) -> None:
    """Remember that a command is started from now on; the caller holds the agent's lock.

    :raises AgentError: with the code ``failed``, if it was started or ended before.
    :raises OSError: if that cannot be remembered; then it must not be started.
    """
    for path in app.commands.glob("*"):
        # Another command may end just now: its job replaces a file without the agent's lock.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > REMEMBERED:
                path.unlink()
    app.commands.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(app.commands / unit, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise AgentError(Code.FAILED, GONE) from None
    sync_directory(app.commands)
    sync_directory(app.commands.parent)


def refuse_later_start(app: AppPaths, unit: str) -> None:
    """Remember that a command was ended: a call that is late must not start it any more."""
    # On a full disk nothing is remembered, and nothing can be started either.
    with contextlib.suppress(AgentError, OSError):
        require_first_start(app, unit)


def remember_end(app: AppPaths, unit: str, ran: RanCommand) -> None:
    """Remember how a command ended, for a task whose earlier try died after it had removed the job."""
    # The end is in the job's answers already: a full disk must not make a failure of it.
    with contextlib.suppress(OSError):
        write_atomically(app.commands / unit, json.dumps(ran).encode())


def remembered_end(app: AppPaths, unit: str) -> Json | None:
    """Return how a command ended, an :class:`agent.migration.RanCommand`; ``None`` if nobody has seen it."""
    try:
        with (app.commands / unit).open("rb") as file:
            ran = json.loads(file.read(LARGEST_END))
    except (OSError, ValueError):
        return None
    return ran if isinstance(ran, dict) and isinstance(ran.get("exit_status"), int) else None


def _programs(app: AppPaths) -> Iterator[Path]:
    return app.jobs.glob(f"{PREFIX}{app.name}-*/program.json")


def _steps(path: Path) -> list[dict[str, Any]]:
    try:
        return [dict(step["request"]) for step in json.loads(path.read_bytes())["steps"]]
    except (OSError, ValueError, KeyError, TypeError):
        # It is being removed.
        return []
