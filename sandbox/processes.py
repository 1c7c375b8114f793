"""Processes and control groups that belong to a sandbox, and to nothing else.

A pid alone is not an identity: the kernel reuses it. Signals go through a pidfd, after the start time has
been compared. A machine's processes are found by the control group they were started in.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError

# Joins the control groups before "--", then executes the command after it.
JOIN_AND_EXEC = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class ProcessId:
    """A process, distinguished by its start time from a later one with the same pid.

    :param pid: process id.
    :param started: start time in clock ticks since boot.
    :param boot: the kernel's boot id.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Identify a running process; ``None`` if there is none with this pid."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ProcessId:
        """Read what :meth:`to_json` wrote."""
        return cls(int(value["pid"]), int(value["started"]), str(value["boot"]))

    def to_json(self) -> dict[str, Any]:
        """Return the process as JSON data."""
        return asdict(self)

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; ``False`` if it is gone."""
        with self._descriptor() as descriptor:
            if descriptor is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
                return True
        return False

    def wait_gone(self, seconds: float) -> bool:
        """Wait until the process has ended; ``False`` if it has not after ``seconds``."""
        with self._descriptor() as descriptor:
            if descriptor is None:
                return True
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(int(seconds * 1000)))

    def kill(self, seconds: float = 5) -> None:
        """End the process with SIGKILL and wait until it is gone."""
        if self.signal(signal.SIGKILL):
            self.wait_gone(seconds)

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[int | None]:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            yield None
            return
        try:
            yield descriptor if self.alive() else None
        finally:
            os.close(descriptor)


def run(command: Sequence[str], *, check: bool = True, text: str = "") -> str:
    """Run a command of this machine and return its output.

    :param text: its standard input.
    :raises SandboxError: it failed, or is not installed.
    """
    try:
        done = subprocess.run(list(command), input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SandboxError(
            f"{command[0]} is not installed: run scripts/install-system-packages as root"
        ) from error
    if check and done.returncode:
        message = (done.stderr or done.stdout).strip().replace("\n", " ")
        raise SandboxError(f"`{' '.join(command)}` failed with status {done.returncode}: {message}")
    return done.stdout


def cgroup_roots() -> list[Path]:
    """Return the mount points of the hierarchies in which systemd keeps its units."""
    roots = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            roots.append(Path(left.split()[4]))
    return roots


def make_cgroups(path: str) -> list[Path]:
    """Make a control group in each hierarchy; none where they are read-only, as in some containers."""
    made = []
    for root in cgroup_roots():
        group = root / path
        with contextlib.suppress(OSError):
            group.mkdir(parents=True, exist_ok=True)
            made.append(group)
    return made


def kill_cgroup(path: str) -> None:
    """Kill every process of a control group and remove the group."""
    for root in cgroup_roots():
        group = root / path
        if not group.is_dir():
            continue
        for directory in _with_children(group):
            for process in _members(directory):
                process.kill()
        for directory in _with_children(group):
            with contextlib.suppress(OSError):
                directory.rmdir()


def _members(group: Path) -> list[ProcessId]:
    try:
        pids = [int(word) for word in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []
    return [process for process in map(ProcessId.of, pids) if process]


def _with_children(group: Path) -> list[Path]:
    found = [Path(top) for top, _, _ in os.walk(group, topdown=False)]
    return found or [group]
