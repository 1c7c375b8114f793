"""Running a one-off command beside an app's service: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import json

from agent.call import Call
from agent.droplet.guests import remember_end
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.release_command import ReleaseCommand, cage_of
from agent.fields import number, text, words
from agent.migration import RanCommand
from agent.one_off import LARGEST_COMMAND, LONGEST_COMMAND, MOST_WORDS, describe_command
from agent.protocol import AgentError, Code, Json, Verb
from agent.release_name import DIGEST, RELEASE
from agent.system import write_atomically

# The service comes first when memory, the processor or the disk is short, whatever the command takes.
ASIDE = (
    "MemoryMax=25%",
    "MemorySwapMax=0",
    "OOMScoreAdjust=1000",
    "CPUWeight=10",
    "IOWeight=10",
    "Nice=19",
)


def run_command(call: Call, request: Json) -> Json:
    """Run a command in the release of the app's service, as the app's user, with what the service runs with.

    Nothing of the service is touched, and no word after the program is shown. After ``timeout`` seconds
    SIGTERM ends the command, and 10 s later SIGKILL everything that it has started. The job's answers have
    the command also if it failed.

    Request: ``one_off.RunCommandRequest``. Answer: ``migration.RanCommand``. Codes: ``failed``, with the
    command's exit status and its last words. Killed anywhere, it takes the command with it, or the end of the
    command is remembered.
    """
    job, release = Job.of(call, request), text(request, "release", RELEASE)
    text(request, "configuration", DIGEST)
    command, properties = words(request, "command"), words(request, "properties")
    timeout = number(request, "timeout", 1, LONGEST_COMMAND)
    if not 1 <= len(command) <= MOST_WORDS or sum(len(one.encode()) for one in command) > LARGEST_COMMAND:
        raise AgentError(Code.BAD_REQUEST, f"command: it has not 1 to {MOST_WORDS} words, or is too long")
    cage = cage_of(job.app, release, properties)
    shown = describe_command(command)
    say(f"running {shown} in {release}")
    done, failure = ReleaseCommand(job, "command", command, timeout, "timeouts.run").run((*cage, *ASIDE))
    answer: RanCommand = {**done, "command": shown}
    write_atomically(job.answers, json.dumps({Verb.RUN_COMMAND.value: answer}).encode())
    remember_end(job.app, job.unit, answer)
    if failure:
        raise AgentError(Code.FAILED, f"{shown} {failure}")
    return {**answer}
