"""Reaching an app's backing services from a droplet: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Sequence

from agent.call import Call
from agent.droplet.caged import run_caged
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.release_command import ReleaseCommand, cage_of
from agent.fields import text, words
from agent.protocol import AgentError, Code, Json
from agent.release_name import RELEASE
from agent.services import COMMAND, ServiceCheck, causes_in, checks_in, shown

# Seconds that the agent's program has for its own start and end.
MARGIN = 5


def services(call: Call, request: Json) -> Json:
    """Try to reach the app's backing services, as the app's user, with what the release runs with.

    Each has its own time. Those that a program of the agent checks are checked at once, the app's commands
    one after another. A command ends with everything that it has started.

    Request: ``services.ServicesRequest``. Answer: nothing. Codes: ``failed``, naming each service that was
    not reached, and why, without a value of the environment. Killed anywhere, it takes the checks with it.
    """
    job, release = Job.of(call, request), text(request, "release", RELEASE)
    checks, properties = checks_in(request), words(request, "properties")
    cage = cage_of(job.app, release, properties)
    say(f"reaching {', '.join(map(shown, checks))}")
    causes = _of_program(job, cage, [one for one in checks if one["kind"] != COMMAND])
    for one in checks:
        if one["kind"] == COMMAND:
            causes[one["name"]] = _of_command(job, cage, one)
    why = "the check was ended before it had an answer"
    failed = [f"{shown(one)}: {cause}" for one in checks if (cause := causes.get(one["name"], why))]
    if failed:
        noun = "service" if len(failed) == 1 else "services"
        raise AgentError(Code.FAILED, f"cannot reach the {noun} {'; '.join(failed)}")
    return {}


def program_for(checks: Sequence[ServiceCheck]) -> list[str]:
    """Return the command that makes these checks; none of them is a command of the app."""
    source = pkgutil.get_data("agent.droplet", "reach.py")
    assert source is not None  # noqa: S101
    # The app's user cannot read the agent. Variables for Python are the app's own, and are not meant.
    return [sys.executable, "-I", "-B", "-c", source.decode(), json.dumps(checks)]


def seconds_of(checks: Sequence[ServiceCheck]) -> float:
    """Return the seconds after which the agent's program is ended, whatever it does."""
    return max(one["timeout"] for one in checks) + MARGIN


def _of_program(job: Job, cage: Sequence[str], checks: list[ServiceCheck]) -> dict[str, str]:
    """Return by service why it was not reached; empty if it was."""
    if not checks:
        return {}
    limit = f"RuntimeMaxSec={seconds_of(checks):g}"
    done = run_caged(job.unit, "services", job.app.name, (*cage, limit), program_for(checks))
    return dict(causes_in(done.output, checks))


def _of_command(job: Job, cage: Sequence[str], check: ServiceCheck) -> str:
    """Return why the app's command has not reached a service; empty if it has."""
    setting = f"services.{check['name']}.timeout"
    command = ReleaseCommand(
        job, f"service-{check['name']}", words(dict(check), "value"), check["timeout"], setting
    )
    return command.run(cage)[1]
