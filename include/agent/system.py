"""Files, clocks and programs of this machine, and the deadline that every wait takes its time from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from agent.protocol import AgentError, Code, DeadlineRecord, Json

T = TypeVar("T")

# Seconds for one program.
COMMAND_TIMEOUT = 30.0
# Bytes that are kept of the end of a program's output.
OUTPUT_LIMIT = 1 << 16


def write_atomically(path: Path, data: bytes, mode: int = 0o600, group: int | None = None) -> None:
    """Replace a file so that a reader, or a power cut, finds the old or the new one.

    :param group: the id of the group that the file belongs to; the writer's own if it is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all: the flock keeps writers apart, and what a killed one left is overwritten.
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        if group is not None:
            os.fchown(file.fileno(), -1, group)
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make sure that the names in a directory outlive a power cut."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_tree(path: Path) -> None:
    """Remove what is there, if it can be removed.

    Not with ``shutil.rmtree``: until Python 3.13 a tree of some 1000 levels is a ``RecursionError`` there.
    """
    subprocess.run(["rm", "-rf", "--", str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def read_json(path: Path) -> Json:
    """Return a file's JSON object, an empty one if there is no file.

    :raises AgentError: with the code ``bad_state`` if the file is not JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise AgentError(Code.BAD_STATE, f"{path} is not JSON; look at it, then remove it") from None
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Json) -> None:
    """Replace a file with a JSON object."""
    write_atomically(path, json.dumps(value, indent=1).encode())


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def since_boot() -> float:
    """Seconds since this machine was started: a clock that cannot be set, and that no two boots share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def since_start() -> float:
    """Seconds since the first process began. A container has its host's clock, but its own first process."""
    return since_boot() - int(started_at(1) or 0) / os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """Return what the kernel calls this boot; no other boot has the same."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def deadline_of(seconds: float) -> DeadlineRecord:
    """A moment so many seconds from now, whatever the settable clock says meanwhile."""
    return {"within": seconds, "end": since_boot() + seconds, "boot": boot_id()}


def started_at(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: a later process with the same number has another."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19]


def utc(seconds: float, pattern: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """Show a moment to people."""
    return time.strftime(pattern, time.gmtime(seconds))


def alert(output: str) -> str:
    """Return the line of HAProxy's or systemd's output that names the error."""
    found = re.search(r"\[ALERT\][^:]*:\s*(.+)", output)
    return found[1] if found else (output.splitlines() or ["no reason given"])[-1]


class CallDeadline:
    """The moment at which a call has to be over; every wait in it takes what is left."""

    def __init__(self, verb: str, seconds: float) -> None:
        self.verb, self.end = verb, since_boot() + seconds
        self.why = f"it may take {seconds:g} s"
        self._latest, self._kept = self.end, 0.0

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds that may be waited; always more than none.

        :raises AgentError: with the code ``too_slow`` if no time is left.
        """
        left = self.end - self._kept - since_boot()
        if left <= 0:
            raise AgentError(Code.TOO_SLOW, f"{self.verb} ran out of time: {self.why}")
        return min(left, at_most)

    def end_within(self, seconds: float, why: str) -> None:
        """Be over earlier than a call of this verb has to be, if it may not take so long."""
        self.end = min(self._latest, since_boot() + seconds)
        if self.end < self._latest:
            self.why = why

    @contextlib.contextmanager
    def keeping(self, seconds: float) -> Iterator[None]:
        """Keep the last seconds for what has to be done if the rest takes too long."""
        before, self._kept = self._kept, self._kept + min(seconds, self.left() / 2)
        try:
            yield
        finally:
            self._kept = before

    def sleep(self, seconds: float) -> None:
        """Wait."""
        if seconds > 0:
            time.sleep(self.left(seconds))

    def wait_for(self, seconds: float, ask: Callable[[], T | None], pause: float = 0.02) -> T | None:
        """Ask until there is an answer other than None; None if there is none in time."""
        until = since_boot() + self.left(seconds)
        while True:
            answer = ask()
            if answer is not None or since_boot() > until:
                return answer
            time.sleep(pause)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a program; its exit status and the end of its output."""
        seconds = self.left(COMMAND_TIMEOUT)
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            return 127, f"{command[0]} is not installed"
        with process:
            until, output = since_boot() + seconds, b""
            try:
                for part in parts_of(process.stdout, until):
                    output = (output + part)[-OUTPUT_LIMIT:]
                process.wait(max(0.01, until - since_boot()))
            except (TimeoutError, subprocess.TimeoutExpired):
                process.kill()
                return 124, f"{command[0]} did not end within {seconds:.0f} s"
            except BaseException:
                process.kill()
                raise
        return process.returncode, output.decode(errors="replace").strip()


def output_of(
    command: Sequence[str], seconds: float, variables: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program to its end, and return its exit status and what it wrote.

    One that is not there, or does not end, has failed, and the text says so.

    :param seconds: after which it is killed.
    :param variables: further variables of its environment.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={**os.environ, **(variables or {})},
            check=False,
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end within {seconds:.0f} s"
    return done.returncode, done.stdout.decode(errors="replace")


def parts_of(stream: IO[bytes] | None, until: float) -> Iterator[bytes]:
    """What comes out of a pipe until it is closed.

    :raises TimeoutError: if it is not by a moment (seconds since the boot).
    """
    while stream is not None:
        left = until - since_boot()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), 1 << 16)
        if not part:
            return
        yield part
