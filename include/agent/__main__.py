"""``agent-<digest>.pyz VERB [JSON]``: do what one verb says, and print one JSON object.

The request is the JSON argument, ``-`` for standard input, or an empty object if there is none. The exit
status is 0 if the answer has ``"ok": true``, 1 if it has ``"ok": false``, ``error`` (a code) and ``message``
(one line). There is no daemon.

Verbs that change something hold one ``flock``; every state is replaced by rename, so that a killed call
leaves the state before or after a step, never half of one. Every call has one deadline
(``protocol.DEADLINES``): whatever an app, a peer, HAProxy or systemd does meanwhile, each wait takes what is
left of it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from agent.call import Call
from agent.protocol import ALARM_AFTER, DEADLINES, READERS, AgentError, Code, Json, Verb
from agent.system import CallDeadline, parts_of, since_boot

# Where the function of each verb is; it is called like the verb. What a machine is not asked is not read.
# The steps of a job are no verbs of a command line: see agent.droplet.job.
MODULES = {
    Verb.INSTALL_AGENT: "agent.installation",
    Verb.FACTS: "agent.facts.verb",
    Verb.CLAIM: "agent.droplet.claims",
    Verb.TOKEN: "agent.droplet.claims",
    Verb.START_JOB: "agent.droplet.jobs",
    Verb.FOLLOW_JOB: "agent.droplet.following",
    Verb.END_JOB: "agent.droplet.jobs",
    Verb.JOB: "agent.droplet.job",
    Verb.RECEIVE: "agent.droplet.receiving",
    Verb.STOP: "agent.droplet.stopping",
    Verb.STATUS: "agent.proxy.reading",
    Verb.PROBE: "agent.proxy.reading",
    Verb.LEDGER: "agent.proxy.reading",
    Verb.LOCK: "agent.proxy.locking",
    Verb.RENEW: "agent.proxy.locking",
    Verb.UNLOCK: "agent.proxy.locking",
    Verb.RECORD: "agent.proxy.locking",
    Verb.SYNC: "agent.proxy.moving",
    Verb.SWITCH: "agent.proxy.moving",
    Verb.CONFIRM: "agent.proxy.moving",
    Verb.ALIGN: "agent.proxy.moving",
    Verb.REVERT: "agent.proxy.moving",
    Verb.BOOT: "agent.proxy.moving",
}
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
    if not arguments or arguments[0] not in {verb.value for verb in MODULES}:
        usage = "|".join(verb.value for verb in MODULES)
        raise AgentError(Code.BAD_REQUEST, f"usage: agent.pyz {usage} [JSON]")
    verb = Verb(arguments[0])
    call = Call.of(verb)
    # The kernel's, for what no line here has thought of; a call that is killed leaves nothing half done.
    signal.setitimer(signal.ITIMER_REAL, DEADLINES[verb] + ALARM_AFTER)
    request = request_in(arguments[1] if len(arguments) > 1 else "{}", call.deadline)
    answer: Callable[[Call, Json], Json] = getattr(import_module(MODULES[verb]), verb.value)
    # A job takes longer than any call may hold the flock; its own lock keeps it apart from others of its app.
    if verb in READERS or verb is Verb.JOB:
        return {"ok": True, **answer(call, request)}
    with call.lock.held():
        return {"ok": True, **answer(call, request)}


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
