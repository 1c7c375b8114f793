"""A process and all of its descendants, which can be stopped together.

A process group is not enough: Airflow's task processes make their own groups, and a task may start a program
in a new session. A descendant is known by its session, or else by a mark in its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from sandbox.processes import ProcessId

MARK = "BLUEGREEN_DEMO_PART"
TERMINATE_SECONDS, KILL_SECONDS = 3, 5


@dataclass(frozen=True)
class Family:
    """A process and all that it has started.

    :param first: the process, which leads a session.
    :param mark: the value of the environment variable that only these processes have.
    """

    first: ProcessId
    mark: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Family:
        """Read what :meth:`to_json` wrote."""
        return cls(ProcessId.from_json(value["first"]), str(value["mark"]))

    def to_json(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {"first": self.first.to_json(), "mark": self.mark}

    def members(self) -> list[ProcessId]:
        """Return those that run; those that only wait to be reaped are not among them."""
        leader = ProcessId.of(self.first.pid)
        # The kernel gives a session's number to nobody else while the session has members; a later process
        # with that number is a stranger.
        known = leader is None or leader == self.first
        return [
            process
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and (process := ProcessId.of(int(entry.name)))
            and process.boot == self.first.boot
            and (_has_mark(process, self.mark) or (known and _session_of(process) == self.first.pid))
        ]

    def kill(self) -> bool:
        """End them all with SIGKILL.

        :return: whether there were any.
        :raises DemoError: if some are still there after five seconds.
        """
        deadline = time.monotonic() + KILL_SECONDS
        existed = False
        # More than one look: a process may fork between being seen and being killed.
        while members := self.members():
            existed = True
            if time.monotonic() > deadline:
                pids = ", ".join(str(member.pid) for member in members)
                raise DemoError(f"these processes cannot be killed: {pids}")
            for member in members:
                member.signal(signal.SIGKILL)
            for member in members:
                member.wait_gone(0.5)
        return existed


def _session_of(process: ProcessId) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _has_mark(process: ProcessId, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return False


class Part:
    """One long-lived process, started in its own session.

    :param name: what it is called; names its log file.
    :param command: what to run.
    :param environment: all of its environment.
    :param log: file for its output; appended to.
    :param record: file that records the session, so that a later process can clean up after a crash.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        record: Path,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._family: Family | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive():
            return
        mark = secrets.token_hex(16)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env={**self._environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        first = ProcessId.of(self._process.pid)
        if first is not None:
            self._family = Family(first, mark)
            self._record.write_text(json.dumps(self._family.to_json()))

    @property
    def pid(self) -> int:
        """Its first process.

        :raises DemoError: if it was not started.
        """
        if self._process is None:
            raise DemoError(f"Airflow's {self.name} does not run")
        return self._process.pid

    def members(self) -> list[ProcessId]:
        """Return those of its processes that run."""
        return self._family.members() if self._family else []

    def alive(self) -> bool:
        """Return whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise if it has ended by itself.

        :raises DemoError: with the last line of its log.
        """
        if self._process is not None and not self.alive():
            raise DemoError(
                f"Airflow's {self.name} ended with status {self._process.returncode}: {self.last_line()} "
                f"(all of it: {self.log})"
            )

    def last_line(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it wrote nothing"

    def terminate(self) -> None:
        """Ask its first process to end, without waiting."""
        if self._process is not None and self.alive():
            self._process.terminate()

    def stop(self) -> None:
        """End it and everything that it started; nothing is left when this returns.

        :raises DemoError: if something cannot be ended.
        """
        self.terminate()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(TERMINATE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and everything that it started with SIGKILL, at once.

        :raises DemoError: if something cannot be ended.
        """
        if self._process is None or self._family is None:
            return
        self._family.kill()
        self._process.wait(KILL_SECONDS)
        self._process = self._family = None
        self._record.unlink(missing_ok=True)


def kill_recorded(record: Path) -> bool:
    """End what a :class:`Part` of an earlier process has left behind, and nobody else's processes.

    :param record: the part's record.
    :return: whether there was anything to end.
    """
    try:
        family = Family.from_json(json.loads(record.read_text()))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return False
    existed = family.kill()
    record.unlink(missing_ok=True)
    return existed
