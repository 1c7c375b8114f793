"""The flock that keeps calls of the agent apart."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from agent.protocol import AgentError, Code, Kind, Verb
from agent.system import CallDeadline, since_boot, started_at

T = TypeVar("T")

# Seconds to wait for another call of the agent: one that changes something, and one that only reads.
LOCK_WAIT, READER_WAIT = 20.0, 2.0
# Seconds until the flock of a killed process is free.
KILL_WAIT = 2.0
# How often a reader reads again because something was changed meanwhile.
READ_AGAIN = 3
# Seconds, the longest that a call may take that has the flock.
LONGEST_CALL = max(verb.deadline for verb in Verb if verb.kind is Kind.CHANGES)
# Bytes of what a holder writes down.
HOLDER_LIMIT = 500
# What the command line of an agent contains, also of one that is run from memory.
AGENT_IN_COMMAND = re.compile(rb"agent-[0-9a-f]{16}\.pyz")


@dataclass(frozen=True)
class Holder:
    """A process that has the flock, and until when it may have it, in seconds since the boot."""

    pid: int
    started: str
    end: float

    def kill(self) -> None:
        """End it and the programs that it runs, unless its number is by now of a process that is no agent."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            if started_at(self.pid) == self.started and AGENT_IN_COMMAND.search(command):
                (os.killpg if os.getpgid(self.pid) == self.pid else os.kill)(self.pid, signal.SIGKILL)


class CallLock:
    """The flock that keeps calls apart; no call has it for longer than its deadline allows.

    The holder writes its process id into the locked file, which is in memory. A call that waits for an
    overdue holder, which is stopped or waits for a disk, ends it and goes on: a call that is killed leaves
    nothing half done. If the flock stays locked nevertheless, the file is replaced by a new one: no process
    is left that would execute another instruction under the old one.
    """

    def __init__(self, path: Path, deadline: CallDeadline) -> None:
        self.path, self.deadline = path, deadline
        self._descriptor: int | None = None
        self._overdue_since: float | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have it.

        :raises AgentError: with the code ``busy`` if another call has it, and may have it, for too long.
        """
        # Ending the process group ends the programs of this call, too. A session's leader leads a group.
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        try:
            if self.deadline.wait_for(LOCK_WAIT, self._attempt) is None:
                raise AgentError(Code.BUSY, "another call of the agent is at work on this machine; try again")
            yield
        finally:
            self._close()

    def end_within(self, seconds: float, why: str) -> None:
        """Be over earlier than a call of this verb has to be, and let others know."""
        self.deadline.end_within(seconds, why)
        self._write_down()

    def _write_down(self) -> None:
        """Let others know until when this call has it."""
        if self._descriptor is None:
            return
        own = asdict(Holder(os.getpid(), started_at(os.getpid()) or "", self.deadline.end))
        line = json.dumps(own).encode()
        # On a full file system others take it from the kernel who has it.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))

    def wait_until_free(self) -> bytes | None:
        """Wait a moment for a call that is at work; the file's content, or None if the call still works."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return b""

        def attempt() -> bytes | None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return os.pread(descriptor, HOLDER_LIMIT, 0)

        try:
            return self.deadline.wait_for(READER_WAIT, attempt)
        finally:
            os.close(descriptor)

    def _attempt(self) -> bool | None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._is_current():
                self._end_overdue()
            else:
                self._close()
            return None
        self._write_down()
        if self._is_current():
            return True
        self._close()
        return None

    def _is_current(self) -> bool:
        """Whether the open file still is the one that all others open."""
        try:
            there = self.path.stat()
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), there)
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _end_overdue(self) -> None:
        holder, now = self._holder(), since_boot()
        if holder and now <= holder.end:
            self._overdue_since = None
            return
        if holder:
            holder.kill()
        if self._overdue_since is None:
            self._overdue_since = now
        elif now - self._overdue_since > KILL_WAIT:
            self._replace()

    def _holder(self) -> Holder | None:
        """Who has it, as it has written down, else as the kernel knows; None if that process has ended."""
        descriptor = self._descriptor
        if descriptor is None:
            return None
        with contextlib.suppress(ValueError, TypeError):
            known = Holder(**json.loads(os.pread(descriptor, HOLDER_LIMIT, 0)))
            if started_at(known.pid) == known.started:
                return known
        inode = os.fstat(descriptor).st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            found = re.search(rf" FLOCK +ADVISORY +\w+ +(\d+) \S+:{inode} ", line)
            started = started_at(int(found[1])) if found else None
            if found and started:
                seconds = int(started) / os.sysconf("SC_CLK_TCK")
                return Holder(int(found[1]), started, seconds + LONGEST_CALL)
        return None

    def _replace(self) -> None:
        """Let all calls go on with a new file, whichever process has the flock of the old one."""
        guard = os.open(self.path.with_name(f"{self.path.name}.replace"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # No call waits for anything while it holds this one.
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                self.path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(guard)
        self._overdue_since = None
        self._close()


def in_peace(lock: CallLock, read: Callable[[], T]) -> T:
    """Read while no call changes anything, if there is such a moment; beside a call that hangs, too.

    A reader holds nothing while it reads, so a reader that hangs keeps no call waiting.
    """
    answer: T | None = None
    for _ in range(READ_AGAIN):
        try:
            before = lock.wait_until_free()
            answer = read()
            if before is None or lock.wait_until_free() == before:
                break
        except AgentError as error:
            # An answer that may be of two moments is better than none.
            if answer is None or error.code is not Code.TOO_SLOW:
                raise
            break
    assert answer is not None  # noqa: S101
    return answer
