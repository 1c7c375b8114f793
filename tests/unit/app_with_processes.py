"""The example app with workers and a timer, and what its droplets report of them."""

from __future__ import annotations

from typing import Any

from agent.processes import Kind, ProcessState, RunOn
from bluegreen.run.processes import ProcessFact
from bluegreen.settings.app import App
from tests.unit.my_app import app_with

PROCESSES: dict[str, Any] = {
    "worker": {"command": ["bin/worker"]},
    "mailer": {"command": ["bin/mailer"], "overlap": True},
}
TIMERS: dict[str, Any] = {"cleanup": {"command": ["bin/cleanup"], "calendar": "*-*-* 03:00:00"}}


def app_with_processes(**changes: Any) -> App:
    """Return it; ``mailer`` may overlap."""
    return app_with(**{"processes": PROCESSES, "timers": TIMERS, **changes})


def process(name: str, *, runs: bool, **changes: Any) -> ProcessFact:
    """What a droplet reports about a process or a timer of its release."""
    setting = PROCESSES.get(name)
    state = changes.get("state", ProcessState.RUNNING if runs else ProcessState.STOPPED)
    known: dict[str, Any] = {
        "name": name,
        "unit": f"app-my_perl_app-{name}" + ("@1.service" if setting else ".timer"),
        "kind": Kind.PROCESS if setting else Kind.TIMER,
        "droplets": RunOn.ALL if setting else RunOn.ONE,
        "overlap": bool(setting and setting.get("overlap")),
        "state": state,
        "enabled": runs,
        "up": state in (ProcessState.RUNNING, ProcessState.WAITING),
        "release": None,
        "result": "success",
        "exit_status": 0,
        "restarts": 0,
        "since": None,
    }
    return ProcessFact(**{**known, **changes})
