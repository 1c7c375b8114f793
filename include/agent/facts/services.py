"""Reaching an app's backing services from a droplet, where nothing can be written there."""

from __future__ import annotations

from agent.droplet.release_command import last_words
from agent.droplet.services import program_for, seconds_of
from agent.facts.bounded import LONGEST_LINE, seconds_left
from agent.facts.loading import CAGED, caged
from agent.protocol import Json
from agent.services import COMMAND, ServiceCheck, causes_in, checks_in
from agent.system import CallDeadline


def services(deadline: CallDeadline, request: Json) -> Json:
    """Try to reach the app's backing services, as the app's user.

    :param request: ``app``, ``properties`` and ``services`` as in ``services.ServicesRequest``.
    :return: ``causes``: by service why it was not reached, empty if it was. A service is left out that there
        was no time for, or whose check systemd did not start in a cage.
    """
    checks = checks_in(request)
    causes: dict[str, str] = {}
    asked = [one for one in checks if one["kind"] != COMMAND]
    if asked:
        wanted = {**request, "command": program_for(asked)}
        _, output, hide = caged(deadline, wanted, seconds_of(asked))
        causes = {name: hide(cause) for name, cause in causes_in(output, asked)}
    for one in checks:
        if one["kind"] == COMMAND and seconds_left(deadline, one["timeout"]) >= one["timeout"]:
            causes.update(_of_command(deadline, request, one))
    return {"causes": {name: cause[:LONGEST_LINE] for name, cause in causes.items()}}


def _of_command(deadline: CallDeadline, request: Json, check: ServiceCheck) -> dict[str, str]:
    """Return why the app's command has not reached a service; nothing if it was not run."""
    wanted = {**request, "command": ["/usr/bin/env", *check["value"]]}
    status, output, hide = caged(deadline, wanted, check["timeout"])
    lines = output.splitlines()
    if status != 124 and CAGED not in lines:
        return {}
    if status == 0:
        return {check["name"]: ""}
    said = hide(last_words("\n".join(line for line in lines if line != CAGED)))
    how = f"took longer than {check['timeout']:g} s" if status == 124 else f"ended with {status}"
    return {check["name"]: f"{how}: {said}" if said and status != 124 else how}
