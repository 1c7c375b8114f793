"""A one-off command: what a droplet does to run it in the live release."""

from __future__ import annotations

import hashlib

from agent.droplet.guests import PREFIX
from agent.one_off import RunCommandRequest
from agent.protocol import Program, Verb
from bluegreen.release.release import load_request
from bluegreen.release.system_names import system_name
from bluegreen.settings.app import App

# Seconds beyond `timeouts.run` for a command to end after its signal, and for the job itself.
MARGIN = 30


def command_unit(app_id: str, run_id: str) -> str:
    """Name of the transient unit of a run's command: ``bluegreen-run-app-shop-0123456789ab``."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    return f"{PREFIX}{system_name(app_id)}-{digest[:12]}"


def command_program(
    app: App, unit: str, release: str, configuration: str, address: str, command: list[str]
) -> Program:
    """Return what a droplet's job does: run the command beside the service, which goes on.

    :param release: what the service runs.
    :param configuration: the digest of what it runs with.
    :param address: the droplet's private address.
    """
    load = load_request(app, unit, release, configuration, address)
    request: RunCommandRequest = {
        "app": load["app"],
        "unit": unit,
        "release": release,
        "configuration": configuration,
        "command": command,
        "properties": load["properties"],
        "timeout": float(app.timeouts.run),
    }
    return {"steps": [{"verb": Verb.RUN_COMMAND.value, "request": {**request}}]}
