"""Doing something as a user without rights.

Whoever has no rights cannot read the agent itself, so what a question needs of it is imported before.
"""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import resource
import signal
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from agent.facts.bounded import read_to_end

T = TypeVar("T")

USER = "nobody"
LARGEST_ANSWER = 1 << 20
# Of prctl(2).
_NO_NEW_PRIVILEGES, _ENDS_WITH_PARENT = 38, 1


def as_nobody(
    seconds: float, question: Callable[[], T], group: str | None = None
) -> tuple[T | None, str | None]:
    """Return the answer of a function in a separate process without rights, and why there is none.

    Root's part only reads the answer, which is JSON, within the limits.

    :param group: a group whose files it may read, if there is such a group.
    """
    reader, writer = os.pipe()
    asking = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(writer, asking, question, group)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        answer, why = read_to_end(pipe, seconds, LARGEST_ANSWER)
    if why is not None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if why is not None:
        return None, why
    try:
        found, why = json.loads(answer)
    except ValueError:
        return None, f"the process that has no rights ended with status {status}"
    return found, why


def _answer(writer: int, asking: int, question: Callable[[], Any], group: str | None) -> NoReturn:
    """Write what the function answers, or why it does not, and end: nothing of the caller's goes on here."""
    try:
        try:
            _drop_rights(asking, group)
            answer: list[Any] = [question(), None]
        except Exception as error:
            answer = [None, f"{type(error).__name__}: {error}"]
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _drop_rights(asking: int, group: str | None) -> None:
    # It writes no file, and no picture of itself.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.setgroups([one.gr_gid for one in grp.getgrall() if one.gr_name == group])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    libc = ctypes.CDLL(None)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # Not earlier: a change of user resets it. The process ends with the one that waits for its answer.
    libc.prctl(_ENDS_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != asking:
        raise ProcessLookupError("nobody waits for the answer")
