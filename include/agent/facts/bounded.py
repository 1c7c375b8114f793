"""Reading within limits of bytes and of time, whatever the other side does."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
from collections.abc import Mapping
from typing import IO

from agent.protocol import AgentError
from agent.system import CallDeadline, parts_of, since_boot

COMMAND_SECONDS = 15
LARGEST_TEXT = 1 << 20
MOST_NAMES = 1000
# Characters of a line that is shown to people.
LONGEST_LINE = 300
FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def seconds_left(deadline: CallDeadline, seconds: float) -> float:
    """Return that many seconds, or what is left of the call.

    One second is always given: a fact that comes late is worth more than none, and an alarm ends the call.
    """
    try:
        return max(1.0, deadline.left(seconds))
    except AgentError:
        return 1.0


def run(
    deadline: CallDeadline,
    *command: str,
    text: str = "",
    seconds: float = COMMAND_SECONDS,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program, and return its exit status and the beginning of its output.

    The status is 124 if it took too long or wrote more than ``LARGEST_TEXT`` bytes; then the output is the
    reason. It is 127 if there is no such program.

    :param text: its standard input.
    """
    seconds = seconds_left(deadline, seconds)
    # A pipe has an owner: a program that is run as another user could not open it by its name.
    with open(os.memfd_create("input"), "wb+", buffering=0) as standard_input:  # noqa: PTH123
        standard_input.write(text.encode())
        standard_input.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=standard_input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
            )
        except OSError as error:
            return 127, str(error)
    assert process.stdout is not None  # noqa: S101
    with process.stdout:
        output, why = read_to_end(process.stdout, seconds, LARGEST_TEXT)
        if why is None:
            try:
                process.wait(seconds_left(deadline, seconds))
            except subprocess.TimeoutExpired:
                why = f"no end within {seconds:.0f} s"
        if why is not None:
            process.kill()
            process.wait()
            return 124, why
    return process.returncode, output.decode("utf-8", "replace")


def read_to_end(pipe: IO[bytes], seconds: float, most: int) -> tuple[bytes, str | None]:
    """Return what comes from a pipe, and why not all of it was read, or None."""
    parts, size = [], 0
    try:
        for part in parts_of(pipe, since_boot() + seconds):
            parts.append(part)
            size += len(part)
            if size > most:
                return b"".join(parts), f"more than {most >> 10} KB of output, of which the rest was not read"
    except TimeoutError:
        return b"".join(parts), f"no end within {seconds:.0f} s"
    return b"".join(parts), None


def text_of(path: str, most: int = LARGEST_TEXT) -> str | None:
    """Return the text of a regular file, up to ``most`` characters of it, or None if there is none."""
    try:
        with open(os.open(path, FILE_FLAGS), encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def names_in(directory: str) -> list[str]:
    """Return the names in a directory, sorted; of a crowd only as many as are ever needed."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, MOST_NAMES))
    except OSError:
        return []
