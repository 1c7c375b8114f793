"""What a job on a droplet writes, in its task's log."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

# A droplet bounds what a job writes; this is for one that does not.
MOST_CHARACTERS = 8 << 20
LAST_LINES = 100


class _Logger(Protocol):
    def info(self, event: str, *args: object) -> object: ...

    def warning(self, event: str, *args: object) -> object: ...


class JobLog:
    """Passes lines on to a task's log, up to a limit, and keeps the last ones.

    :param log: the task's.
    """

    def __init__(self, log: _Logger) -> None:
        self._log = log
        self._left = MOST_CHARACTERS
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def write(self, lines: Iterable[str]) -> None:
        """Log some lines."""
        for line in lines:
            self.last.append(line)
            if self._left <= 0:
                continue
            self._log.info("%s", line)
            self._left -= len(line) + 1
            if self._left <= 0:
                self._log.warning("more than %d MB of output: the rest is not shown", MOST_CHARACTERS >> 20)
