"""The processes and timers that a droplet has of an app, and where they stand."""

from __future__ import annotations

from agent.droplet.app_paths import AppPaths
from agent.droplet.process_states import ProcessStates
from agent.paths import Paths
from agent.protocol import Json
from agent.system import CallDeadline


def processes(deadline: CallDeadline, request: Json) -> Json:
    """Describe an app's processes and timers on this droplet.

    :param request: ``app``, its name on the machine.
    :raises AgentError: with the code ``failed`` if systemd does not answer.
    """
    return {"processes": ProcessStates(AppPaths.of(Paths(), request), deadline).records()}
