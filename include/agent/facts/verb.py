"""The verb ``facts``: what a deploy finds on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from agent.call import Call
from agent.fields import number
from agent.protocol import FACTS_SECONDS, AgentError, Code, Json
from agent.system import CallDeadline

LARGEST_ANSWER = 1500 << 10
# Seconds, fewer than the plugin's own SPARE_SECONDS.
LATE_SECONDS = 3

# Where the function of each kind is; it is called like the kind. What a machine is not asked is not read.
KINDS = {
    "app_server": "agent.facts.app_server",
    "proxy": "agent.facts.proxy",
    "load": "agent.facts.loading",
    "migrations": "agent.facts.migrations",
    "mirror": "agent.facts.mirror",
    "services": "agent.facts.services",
    "processes": "agent.facts.processes",
}


def facts(call: Call, request: Json) -> Json:
    """Read what a deploy finds on this machine.

    Request: ``kind`` (``app_server``, ``proxy``, ``load``, ``migrations``, ``mirror``, ``services`` or
    ``processes``),
    ``seconds`` (after which Airflow takes the machine for lost), and what the function of that kind reads.
    Answer: ``facts``, the model of that kind in ``bluegreen.checks.facts``. Codes: ``too_slow``,
    ``too_large``. A kill leaves nothing.
    """
    os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    os.chdir("/")
    kind = str(request.get("kind"))
    if kind not in KINDS:
        raise AgentError(Code.BAD_REQUEST, f"kind: {request.get('kind')!r:.60} is not usable")
    seconds = number(request, "seconds", 0, FACTS_SECONDS)
    call.deadline.end_within(seconds, f"it may take {seconds:.0f} s")
    # Airflow gets an answer before it takes this machine for lost, whatever hangs.
    signal.signal(signal.SIGALRM, lambda *_: _end(seconds))
    signal.setitimer(signal.ITIMER_REAL, seconds + LATE_SECONDS)
    read: Callable[[CallDeadline, Json], Json] = getattr(import_module(KINDS[kind]), kind)
    found = read(call.deadline, request)
    if len(json.dumps(found)) > LARGEST_ANSWER:
        raise AgentError(Code.TOO_LARGE, f"they are larger than {LARGEST_ANSWER >> 10} KB")
    return {"facts": found}


def _end(seconds: float) -> NoReturn:
    """Answer from a signal handler: the call may hang in the kernel, so nothing is unwound."""
    message = f"they are not whole after {seconds:.0f} s"
    sys.stdout.write(json.dumps({"ok": False, "error": Code.TOO_SLOW.value, "message": message}) + "\n")
    sys.stdout.flush()
    os._exit(1)
