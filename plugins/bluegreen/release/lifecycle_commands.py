"""An app's own commands at certain moments of a deploy, on the droplets that the run deploys to."""

from __future__ import annotations

from collections.abc import Mapping

from agent.protocol import Program, RunRequest, Verb
from bluegreen.release.cage import CAGE
from bluegreen.release.system_names import build_user, system_name
from bluegreen.settings.app import App
from bluegreen.settings.hooks import Hook, Moment


def hooks_at(app: App, moment: Moment) -> list[Hook]:
    """Return an app's commands for a moment."""
    hooks: list[Hook] = getattr(app.hooks, moment.value)
    return hooks


def hook_unit(app_id: str, moment: Moment, number: int) -> str:
    """Name of the transient unit that runs a command."""
    return f"bluegreen-{system_name(app_id)}-{moment.value}-{number}"


def command_program(app_id: str, unit: str, hook: Hook, release: str, facts: Mapping[str, str]) -> Program:
    """What the job does that runs a command in the cage, see :class:`bluegreen.hooks.remote_job.RemoteJob`.

    :param unit: the job's name, see :func:`hook_unit`.
    :param release: the release in whose directory it runs; empty before there is one.
    :param facts: variables of the command's environment, without their prefix ``BLUEGREEN_``.
    """
    request: RunRequest = {
        "app": system_name(app_id),
        "unit": unit,
        "user": build_user(app_id) if hook.user == "build" else system_name(app_id),
        "release": release,
        "environment": {f"BLUEGREEN_{name}": value for name, value in facts.items()},
        "command": list(hook.command),
        "cage": list(CAGE),
    }
    return {"steps": [{"verb": Verb.RUN.value, "request": {**request}}]}
