"""Running the commands of a migration in a release: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.call import Call
from agent.droplet.caged import run_caged
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.loading import require_environment
from agent.droplet.local_cage import local_properties
from agent.droplet.masking import JobMask
from agent.droplet.reserve import is_full, no_space
from agent.droplet.users import STATE_MODE, require_user
from agent.fields import number, text, words
from agent.migration import (
    LONGEST_COMMAND,
    MOST_COMMANDS,
    STATUS_SECONDS,
    MigrateAnswer,
    RanCommand,
    pending_in,
)
from agent.protocol import AgentError, Code, Json, Verb
from agent.release_name import RELEASE
from agent.system import since_boot, write_atomically

PHASES = "expand|contract"
# Seconds that a command has to end after SIGTERM, such as to give a lock of the database back.
STOP_SECONDS = 10
# Characters of a command that are shown.
LONGEST_TEXT = 200
# A longer line of a command's output is not among its last words: half of a secret would not be hidden.
LONGEST_LINE = 2000
# How Sqitch begins the line of a change, before it runs the change's script: ``  + users .. ``.
CHANGE = re.compile(r"\s*[+-] \S.* \.\.")
# Lines of a command's last words: as many as there are from the change on, or the last ones.
MOST_LINES, LAST_LINES = 12, 3


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
    app = job.app
    require_user(app.name)
    if not (app.releases / release).is_dir():
        raise AgentError(Code.FAILED, f"the release {release} is not on this droplet")
    require_environment(app, properties)
    local = local_properties(str(app.paths.units / f"{app.service}.d/local.conf"), properties)
    cage = (*properties, *local, "KillSignal=SIGTERM", f"TimeoutStopSec={STOP_SECONDS}")
    writing = (*cage, f"RuntimeMaxSec={timeout:g}", f"StateDirectory={app.name}", STATE_MODE)
    answer: MigrateAnswer = {"ran": [], "before": _pending(job, "before", status, cage), "after": ""}
    for position, command in enumerate(commands, 1):
        one = _Command(job, f"{phase}-{position}", command, timeout)
        say(f"{phase}: {one.text}")
        done, failure = one.run(writing)
        answer["ran"].append(done)
        write_atomically(job.answers, json.dumps({Verb.MIGRATE.value: answer}).encode())
        if failure:
            raise AgentError(Code.FAILED, f"{phase}: {one.text} {failure}")
    return {**answer, "after": _pending(job, "after", status, cage)}


def _pending(job: Job, name: str, command: Sequence[str], cage: Sequence[str]) -> str:
    """Return what is pending in the words of a command that can write nothing on the droplet, or nothing."""
    if not command:
        return ""
    say(f"status: {shlex.join(command)[:LONGEST_TEXT]}")
    limit = f"RuntimeMaxSec={STATUS_SECONDS}"
    done = run_caged(job.unit, name, job.app.name, (*cage, limit), ["/usr/bin/env", *command])
    if done.status != 0:
        say(f"what is pending is not known: the command ended with {done.status}")
        return ""
    # Unlike the log, the answer leaves the droplet as it is.
    hide = JobMask(job)
    hide.update()
    return hide(pending_in(done.output))


@dataclass(frozen=True)
class _Command:
    """A command of a phase.

    :param name: of its unit, unique among the commands of the job.
    """

    job: Job
    name: str
    command: Sequence[str]
    timeout: float

    @property
    def text(self) -> str:
        """The beginning of the command, for people."""
        whole = shlex.join(self.command)
        return whole if len(whole) <= LONGEST_TEXT else f"{whole[:LONGEST_TEXT]}…"

    def run(self, properties: Sequence[str]) -> tuple[RanCommand, str]:
        """Run it to its end; return that, and why it failed, or an empty text."""
        app, began, moment = self.job.app, since_boot(), time.time()
        done = run_caged(self.job.unit, self.name, app.name, properties, ["/usr/bin/env", *self.command])
        seconds = since_boot() - began
        ran: RanCommand = {
            "command": self.text,
            "began": moment,
            "seconds": seconds,
            "exit_status": done.status,
        }
        if done.status == 0:
            return ran, ""
        if is_full(app.root, done.output):
            return ran, f"failed: {no_space(app)}"
        late = f"took longer than {self.timeout:g} s (setting migrations.timeout)"
        how = late if seconds >= self.timeout else f"ended with {done.status}"
        words = last_words(done.output)
        return ran, f"{how}: {words}" if words else how


def last_words(output: str) -> str:
    """Return the last lines of a command as one line; Sqitch's begin with the change that it worked on."""
    lines = [line for line in output.splitlines() if line.strip() and len(line) <= LONGEST_LINE][-MOST_LINES:]
    changes = [place for place, line in enumerate(lines) if CHANGE.match(line)]
    return " / ".join(line.strip() for line in lines[changes[-1] if changes else -LAST_LINES :])


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
