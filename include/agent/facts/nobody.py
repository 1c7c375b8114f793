"""Doing something as a user without rights, beneath one directory, and never by way of a link.

Whoever has no rights cannot read the agent itself, so what a question needs of it is imported before.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn, TypeVar

from agent.facts.bounded import read_to_end

T = TypeVar("T")

USER = "nobody"
LARGEST_ANSWER = 1 << 20
# Of prctl(2).
_NO_NEW_PRIVILEGES, _ENDS_WITH_PARENT = 38, 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotBeneathError(OSError):
    """A path leads through a link, or out of its directory."""


def as_nobody(seconds: float, question: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return the answer of a function in a separate process without rights, and why there is none.

    Root's part only reads the answer, which is JSON, within the limits.
    """
    reader, writer = os.pipe()
    asking = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(writer, asking, question)
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


def _answer(writer: int, asking: int, question: Callable[[], Any]) -> NoReturn:
    """Write what the function answers, or why it does not, and end: nothing of the caller's goes on here."""
    try:
        try:
            _drop_rights(asking)
            answer: list[Any] = [question(), None]
        except Exception as error:
            answer = [None, f"{type(error).__name__}: {error}"]
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _drop_rights(asking: int) -> None:
    # It writes no file, and no picture of itself.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    libc = ctypes.CDLL(None)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # Not earlier: a change of user resets it. The process ends with the one that waits for its answer.
    libc.prctl(_ENDS_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != asking:
        raise ProcessLookupError("nobody waits for the answer")


class Beneath:
    """A directory of which every path is walked one part at a time: a link on the way is an error.

    :param directory: its path, which the caller vouches for.
    """

    def __init__(self, directory: str) -> None:
        self.root = os.open(directory, _DIRECTORY)

    def stat(self, path: str) -> os.stat_result:
        """Return what is there, without following it."""
        parent, name = self._parent(path)
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def link(self, path: str) -> str:
        """Return what a link leads to."""
        parent, name = self._parent(path)
        try:
            return os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file to read its bytes."""
        parent, name = self._parent(path)
        try:
            file = os.open(name, _FILE, dir_fd=parent)
        finally:
            os.close(parent)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise NotBeneathError(f"{path} is no regular file")
        return os.fdopen(file, "rb")

    def text(self, path: str, most: int) -> str | None:
        """Return a file's text, as much as is read of any, or None if there is none."""
        try:
            with self.open(path) as file:
                return file.read(most).decode("utf-8", "replace")
        except OSError:
            return None

    def files(self) -> Iterator[str]:
        """Return the path of everything beneath that is no directory, sorted within each."""
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            parent = self._directory(directory)
            try:
                with os.scandir(parent) as entries:
                    found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
            finally:
                os.close(parent)
            for name, is_directory in reversed(found):
                path = os.path.join(directory, name)  # noqa: PTH118
                if is_directory:
                    waiting.append(path)
            for name, is_directory in found:
                if not is_directory:
                    yield os.path.join(directory, name)  # noqa: PTH118

    def _parent(self, path: str) -> tuple[int, str]:
        directory, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise NotBeneathError(f"{path!r} is no path of a file")
        return self._directory(directory), name

    def _directory(self, path: str) -> int:
        """Open a directory beneath."""
        current = os.dup(self.root)
        for part in path.split("/") if path else ():
            if part in ("", ".", ".."):
                os.close(current)
                raise NotBeneathError(f"{path!r} leads elsewhere")
            try:
                following = os.open(part, _DIRECTORY, dir_fd=current)
            finally:
                os.close(current)
            current = following
        return current
