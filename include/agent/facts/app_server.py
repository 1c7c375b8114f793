"""What a deploy finds on a droplet that runs an app."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent.droplet.activated import Activated
from agent.droplet.app_paths import AppPaths
from agent.droplet.guests import PREFIX
from agent.droplet.perl_key import changeable_part, perl_key
from agent.droplet.process_states import ProcessStates
from agent.droplet.process_units import units_digest
from agent.facts.bounded import names_in, run
from agent.facts.comparison import compared
from agent.facts.configuration import configuration_in_use
from agent.facts.environment import NO_ENVIRONMENT, app_environment
from agent.facts.machine import machine
from agent.facts.packages import packages
from agent.facts.ports import ports_in, try_ports
from agent.paths import Paths
from agent.processes import MOST_NAMES
from agent.protocol import Json
from agent.release_name import is_release
from agent.system import CallDeadline

# Programs that write into their user's home even if only their version is asked for: cpanm makes a directory.
NOT_RUN = ("cpanm",)
UNKNOWN = "unknown"


def app_server(deadline: CallDeadline, request: Json) -> Json:
    """Return what a deploy finds on a droplet that runs an app.

    :param request: of :func:`machine` and :func:`ports_in`, and ``app`` (its name on the machine), ``users``
        (which a deploy needs), ``perl`` (the path of the app's), ``tools`` (programs whose version is read),
        ``packages`` (Debian packages that the app needs), and ``compare`` (whether the current release is
        compared with its manifest).
    """
    with ThreadPoolExecutor(1) as pool:
        tried = pool.submit(try_ports, ports_in(request))
        return {**_facts(deadline, request), "ports": tried.result()}


def _facts(deadline: CallDeadline, request: Json) -> dict[str, Any]:
    app = AppPaths.of(Paths(), request)
    found = releases(app)
    missing = [user for user in request["users"] if not has_user(user)]
    perl = request["perl"]
    # Root does not run what an app's settings name.
    key = perl_key(perl)
    environment = NO_ENVIRONMENT
    if has_user(app.name):
        environment = app_environment(deadline, str(app.environment), app.name)
    facts: dict[str, Any] = {
        **machine(deadline, request),
        **found,
        **packages(deadline, request["packages"]),
        "tools": {perl: key.partition(" ")[0] or None, **versions(deadline, request["tools"])},
        "missing_users": missing,
        "perl_key": key,
        "perl_changeable": changeable_part(perl),
        "jobs": [unit for unit, _ in running_units(deadline, f"bluegreen-{app.name}-*")],
        "commands": [run_id for _, run_id in running_units(deadline, f"{PREFIX}{app.name}-*")],
        "environment": environment.as_json(),
        "compared": None,
    }
    runs_in = release_at(f"/proc/{facts['unit'].get('MainPID')}/cwd", app)
    facts["running"] = runs_in if runs_in and is_release(runs_in) else None
    facts["configuration"] = configuration_in_use(app)
    processes = ProcessStates(app, deadline)
    facts["process_units"] = units_digest(processes.files.texts().items())
    facts["foreign_units"] = processes.files.strangers()[:MOST_NAMES]
    facts["processes"] = processes.records()
    if request["compare"] and found["current"] in found["releases"]:
        facts["compared"] = compared(deadline, app, found["current"])
    return facts


def has_user(name: str) -> bool:
    """Return whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def releases(app: AppPaths) -> Json:
    """Return the releases of an app, and what is kept for the next one."""
    reserve = app.root / "reserve"
    return {
        "disk_reserved_mb": size_of(reserve / "room") >> 20,
        "inodes_reserved": count_in(reserve),
        "current": release_at(str(app.root / "current"), app),
        "releases": [name for name in names_in(str(app.releases)) if is_release(name)],
        "activated": activated(app),
    }


def activated(app: AppPaths) -> list[Json]:
    """Return what was healthy on the droplet, the latest first: where it listened, if it was confirmed."""
    return [
        {
            **one.pairing.as_json,
            "address": one.asked.address,
            "port": one.asked.port,
            "confirmed": one.confirmed,
        }
        for one in Activated(app).all()
    ]


def release_at(link: str, app: AppPaths) -> str | None:
    """Return the release that a link leads to, or into; the last part of where it leads, if to no release.

    None if there is no such link.
    """
    try:
        target = app.root / os.readlink(link)  # noqa: PTH115
    except OSError:
        return None
    for place in (target, *target.parents):
        if place.parent == app.releases:
            return place.name
    return target.name


def versions(deadline: CallDeadline, tools: Sequence[str]) -> dict[str, str | None]:
    """Return the version of each program, or None if it is not there or broken."""
    return {tool: version_of(deadline, tool) for tool in tools}


def version_of(deadline: CallDeadline, tool: str) -> str | None:
    """Return a program's version, or None if it is not there or broken.

    The version of a program that is not run is :data:`UNKNOWN`.
    """
    path = shutil.which(tool)
    if path is None:
        return None
    if Path(path).name in NOT_RUN:
        return UNKNOWN
    status, output = run(deadline, path, "--version")
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if status == 0 and found else None


def running_units(deadline: CallDeadline, pattern: str) -> list[tuple[str, str]]:
    """Return the jobs that are at work, each with the run that has started it."""
    listed = run(deadline, "systemctl", "list-units", "--plain", "--no-legend", "--full", pattern)[1]
    rows = [line.split(maxsplit=4) for line in listed.splitlines()]
    return [(row[0], row[4].strip()) for row in rows if len(row) > 4 and row[3] == "running"]


def size_of(path: Path) -> int:
    """Return a file's size in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def count_in(directory: Path) -> int:
    """Return how many files root has put into a directory; 0 if there is none."""
    try:
        with os.scandir(directory) as found:
            return sum(1 for _ in found)
    except OSError:
        return 0
