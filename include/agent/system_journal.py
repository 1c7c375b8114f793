"""A line in the machine's journal for each call that changes something: which run did what."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

from agent.protocol import Json, Verb

# What a line says of a request besides the run: no value of these is a secret, or anybody's text.
DETAILS = ("token", "app", "unit", "to", "color", "revision", "name")
_DETAIL, _CALLER = r"[A-Za-z0-9._:@/+-]{1,100}", r"[!-~]{1,200}( [!-~]{1,200})?"
# syslog's facility `user` with the severities `info` and `warning`: RFC 5424, section 6.2.1.
_INFO, _WARNING = 14, 12


def note(socket_path: Path, verb: Verb, request: Json, outcome: str) -> None:
    """Write a line; a journal that is not there, or does not read, keeps nobody waiting.

    :param request: with ``by``, the run and the task that call, if one does.
    :param outcome: ``done``, or the code of the refusal.
    """
    severity = _INFO if outcome == "done" else _WARNING
    by = request.get("by")
    caller = (
        by if isinstance(by, str) and re.fullmatch(_CALLER, by) else "no run (a timer, the boot, a person)"
    )
    details = [
        f"{key} {request[key]}"
        for key in DETAILS
        if isinstance(request.get(key), (str, int)) and re.fullmatch(_DETAIL, str(request[key]))
    ]
    text = ", ".join([f"{verb.value}: {outcome}", f"for {caller}", *details])
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.setblocking(False)
        journal.sendto(f"<{severity}>bluegreen-agent[{os.getpid()}]: {text}".encode(), str(socket_path))
