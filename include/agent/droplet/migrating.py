"""Running the commands of a migration in a release: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agent.call import Call
from agent.droplet.caged import run_caged
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.masking import JobMask
from agent.droplet.release_command import GENTLE, ReleaseCommand, cage_of, text_of
from agent.fields import number, text, words
from agent.migration import LONGEST_COMMAND, MOST_COMMANDS, STATUS_SECONDS, MigrateAnswer, pending_in
from agent.protocol import AgentError, Code, Json, Verb
from agent.release_name import RELEASE
from agent.system import write_atomically

PHASES = "expand|contract"


def migrate(call: Call, request: Json) -> Json:
    """Run the commands of one phase of a migration, as the app's user, with what the release runs with.

    Each command may take ``timeout`` seconds. Then SIGTERM ends it, and 10 s later SIGKILL everything that it
    has started. After the first one that fails none is run. The job's answers name what has run so far.

    Request: ``migration.MigrateRequest``. Answer: ``migration.MigrateAnswer``. Codes: ``failed``, with the
    command and its last words. Killed anywhere, it takes the command with it; what the command has done to
    the database stays.
    """
    job, release = Job.of(call, request), text(request, "release", RELEASE)
    phase, properties = text(request, "phase", PHASES), words(request, "properties")
    timeout, commands = number(request, "timeout", 1, LONGEST_COMMAND), _commands(request)
    status = words(request, "status") if request.get("status") else []
    cage = cage_of(job.app, release, properties)
    answer: MigrateAnswer = {"ran": [], "before": _pending(job, "before", status, cage), "after": ""}
    for position, command in enumerate(commands, 1):
        one = ReleaseCommand(job, f"{phase}-{position}", command, timeout, "migrations.timeout")
        say(f"{phase}: {text_of(command)}")
        done, failure = one.run(cage)
        answer["ran"].append(done)
        write_atomically(job.answers, json.dumps({Verb.MIGRATE.value: answer}).encode())
        if failure:
            raise AgentError(Code.FAILED, f"{phase}: {text_of(command)} {failure}")
    return {**answer, "after": _pending(job, "after", status, cage)}


def _pending(job: Job, name: str, command: Sequence[str], cage: Sequence[str]) -> str:
    """Return what is pending in the words of a command that can write nothing on the droplet, or nothing."""
    if not command:
        return ""
    say(f"status: {text_of(command)}")
    limit = f"RuntimeMaxSec={STATUS_SECONDS}"
    done = run_caged(job.unit, name, job.app.name, (*cage, *GENTLE, limit), ["/usr/bin/env", *command])
    if done.status != 0:
        say(f"what is pending is not known: the command ended with {done.status}")
        return ""
    # Unlike the log, the answer leaves the droplet as it is.
    hide = JobMask(job)
    hide.update()
    return hide(pending_in(done.output))


def _commands(request: Json) -> list[list[str]]:
    """Return the request's commands.

    :raises AgentError: with the code ``bad_request``.
    """
    found = request.get("commands")
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_COMMANDS:
        raise AgentError(Code.BAD_REQUEST, f"commands: it is no list of 1 to {MOST_COMMANDS} commands")
    commands = [words({"commands": one}, "commands") for one in found]
    if not all(commands):
        raise AgentError(Code.BAD_REQUEST, "commands: a command has no words")
    return commands
