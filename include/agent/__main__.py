"""``agent-<digest>.pyz VERB [JSON]``: do what one verb says, and print one JSON object.

The request is the JSON argument, ``-`` for standard input, or an empty object if there is none. The exit
status is 0 if the answer has ``"ok": true``, 1 if it has ``"ok": false``, ``error`` (a code) and ``message``
(one line). There is no daemon.

Verbs that change something hold one ``flock``; every state is replaced by rename, so that a killed call
leaves the state before or after a step, never half of one. Every call has one deadline
(``protocol.Verb``): whatever an app, a peer, HAProxy or systemd does meanwhile, each wait takes what is
left of it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

from agent.call import Call
from agent.protocol import ALARM_AFTER, AgentError, Code, Json, Kind, Verb
from agent.system import CallDeadline, parts_of, since_boot
from agent.system_journal import note

# The steps of a job are no verbs of a command line: see agent.droplet.job.
VERBS = [verb for verb in Verb if verb.kind is not Kind.STEP]
# Seconds for the request to arrive, and its bytes.
REQUEST_WAIT, REQUEST_LIMIT = 15.0, 1 << 23


def main() -> int:
    """Answer the command line, and return the exit status."""
    try:
        answer: Mapping[str, Any] = answer_to(sys.argv[1:])
    except AgentError as error:
        message = " ".join(str(error).split())
        answer = {"ok": False, "error": error.code.value, "message": message}
    except (OSError, ValueError, RecursionError) as error:
        message = f"{type(error).__name__}: {error}"
        answer = {"ok": False, "error": Code.FAILED.value, "message": message}
    if sys.argv[1:2] != [Verb.JOB.value]:
        print(json.dumps(answer))
    elif not answer["ok"]:
        # A job's log is read by people, and its last line is the cause.
        print(f"bluegreen: {answer['message']}")
    return 0 if answer["ok"] else 1


def answer_to(arguments: list[str]) -> Json:
    """Return the answer to a command line.

    :raises AgentError: if the verb refuses.
    """
    if not arguments or arguments[0] not in {verb.value for verb in VERBS}:
        usage = "|".join(verb.value for verb in VERBS)
        raise AgentError(Code.BAD_REQUEST, f"usage: agent.pyz {usage} [JSON]")
    verb = Verb(arguments[0])
    call = Call.of(verb)
    # The kernel's, for what no line here has thought of; a call that is killed leaves nothing half done.
    signal.setitimer(signal.ITIMER_REAL, verb.deadline + ALARM_AFTER)
    request = request_in(arguments[1] if len(arguments) > 1 else "{}", call.deadline)
    answer = verb.function()
    if verb.kind is not Kind.CHANGES:
        return {"ok": True, **answer(call, request)}
    try:
        with call.lock.held():
            found = {"ok": True, **answer(call, request)}
    except Exception as error:
        note(call.paths.journal, verb, request, getattr(error, "code", Code.FAILED).value)
        raise
    if verb is not Verb.RENEW:
        # A task that waits renews its lease all the time.
        note(call.paths.journal, verb, request, "done")
    return found


def request_in(source: str, deadline: CallDeadline) -> Json:
    """Return the request: the text itself, or standard input if it is ``-``.

    :raises AgentError: with the code ``bad_request``.
    """
    try:
        request = json.loads(from_stdin(deadline) if source == "-" else source)
    except ValueError as error:
        raise AgentError(Code.BAD_REQUEST, f"the request is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise AgentError(Code.BAD_REQUEST, "the request is not a JSON object")
    return request


def from_stdin(deadline: CallDeadline) -> bytes:
    """Return what comes on standard input.

    :raises AgentError: if it does not end in time, or is too long.
    """
    request = bytearray()
    try:
        for part in parts_of(sys.stdin.buffer, since_boot() + deadline.left(REQUEST_WAIT)):
            request += part
            if len(request) > REQUEST_LIMIT:
                raise AgentError(Code.BAD_REQUEST, f"the request is longer than {REQUEST_LIMIT} bytes")
    except TimeoutError:
        message = f"the request did not end within {REQUEST_WAIT:.0f} s"
        raise AgentError(Code.BAD_REQUEST, message) from None
    return bytes(request)


if __name__ == "__main__":
    sys.exit(main())
