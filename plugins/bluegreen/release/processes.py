"""An app's processes and timers: what runs beside its web server, on the live color only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agent.processes import LONGEST_STOP, STAYS_UP, ProcessesRequest
from agent.protocol import Program, Verb
from bluegreen.release.service_unit import PLAIN, ServiceUnit, command_line
from bluegreen.release.system_names import system_name
from bluegreen.settings.app import App
from bluegreen.settings.app_id import check_app_id
from bluegreen.settings.calendar import check_calendar
from bluegreen.settings.processes import ProcessSettings, TimerSettings
from bluegreen.templates import UnitText, render_unit

# Seconds that a job takes besides waiting for its processes: its turn on the droplet, and systemd.
MARGIN = 180
# Seconds after which systemd ends a job that stops or starts processes. The droplet's units, whose limits may
# be older than the app file's, say how long a stop may take.
SECONDS = LONGEST_STOP + int(STAYS_UP) + MARGIN


def process_units(app: App, service: ServiceUnit) -> dict[str, str]:
    """Return the unit files of an app's processes and timers, by file name.

    They have the release, configuration, environment and cage of the web server's.

    :param service: the web server's unit.
    :raises ValueError: if a value cannot be part of a unit.
    """
    units = {}
    for name, process in app.processes.items():
        units[f"{service.system_name}-{name}@.service"] = render_unit(
            "droplet/process.service.j2",
            **_of_both(service, process),
            process=name,
            count=process.count,
            overlap="yes" if process.overlap else "no",
            stop_signal=process.stop_signal,
        )
    for name, timer in app.timers.items():
        values = {**_of_both(service, timer), "timer": name, "timeout": timer.timeout}
        units[f"{service.system_name}-{name}.service"] = render_unit("droplet/timer.service.j2", **values)
        calendar = UnitText(check_calendar(timer.calendar))
        units[f"{service.system_name}-{name}.timer"] = render_unit(
            "droplet/app.timer.j2", **values, calendar=calendar
        )
    return units


def _of_both(service: ServiceUnit, settings: ProcessSettings | TimerSettings) -> dict[str, Any]:
    return {
        **service.surroundings,
        "command": UnitText(command_line(settings.command)),
        "program": UnitText(_program(service.directory, settings.command[0])),
        "droplets": settings.droplets,
        "stop_timeout": settings.stop_timeout,
        "memory_max": settings.memory_max,
    }


def _program(directory: str, word: str) -> str:
    """Return the path of a program, which a droplet looks for; empty if it is searched in ``PATH``."""
    path = word if word.startswith("/") else f"{directory}/{word}"
    return path if "/" in word and PLAIN.fullmatch(path) else ""


def processes_unit(app_id: str) -> str:
    """Name of the transient unit that starts and stops processes: ``bluegreen-app-shop-processes``.

    :raises ValueError: if that is no app.
    """
    check_app_id(app_id)
    return f"bluegreen-{system_name(app_id)}-processes"


def processes_program(app: App, run: Collection[str]) -> Program:
    """Return what a droplet's job does to run some of its processes and timers, and no others.

    Whatever it is not to run is stopped first, gracefully, and does not start with the droplet any more.

    :param run: their names, of the release that is activated there; none for an idle droplet.
    """
    request: ProcessesRequest = {
        "app": system_name(app.id),
        "unit": processes_unit(app.id),
        "run": sorted(run),
    }
    return {"steps": [{"verb": Verb.PROCESSES.value, "request": {**request}}]}
