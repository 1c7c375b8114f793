"""Reading something slow again and again in the background, while something else goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

from bluegreen.errors import BlueGreenError

T = TypeVar("T")


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What was read, begun ``at`` (seconds, monotonic)."""

    value: T
    at: float


class Readings(Generic[T]):
    """Reads in a thread of its own until the end of the ``with`` block.

    :param read: what reads; it is never called twice at once.
    :param pause: seconds between the end of one reading and the start of the next.
    """

    def __init__(self, read: Callable[[], T], pause: float) -> None:
        self._read = read
        self._pause = pause
        self._found: SimpleQueue[Reading[T] | BaseException] = SimpleQueue()
        self._end = Event()

    def __enter__(self) -> Self:
        # As a daemon: a reading that hangs must not keep the process.
        Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def take(self) -> Reading[T] | BlueGreenError | None:
        """Return the next reading that has not been taken yet, if there is one; a failed one is an error.

        :raises Exception: what :func:`read` raised, unless it is an error that a user can cause.
        """
        try:
            found = self._found.get_nowait()
        except Empty:
            return None
        if isinstance(found, BaseException) and not isinstance(found, BlueGreenError):
            raise found
        return found

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                self._found.put(Reading(self._read(), began))
            except BaseException as error:
                # Raised by take, where somebody sees it.
                self._found.put(error)
            self._end.wait(self._pause)
