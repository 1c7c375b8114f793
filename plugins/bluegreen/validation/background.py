"""A background poller: reads something slow repeatedly while the caller goes on."""

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
class TimedValue(Generic[T]):
    """A result; ``at`` is when its reading began (seconds, monotonic)."""

    value: T
    at: float


class BackgroundReader(Generic[T]):
    """Calls ``read`` in a thread until the end of the ``with`` block.

    :param read: the function to call; calls never overlap.
    :param pause: seconds between the end of one reading and the start of the next.
    """

    def __init__(self, read: Callable[[], T], pause: float) -> None:
        self._read = read
        self._pause = pause
        self._found: SimpleQueue[TimedValue[T] | BaseException] = SimpleQueue()
        self._end = Event()

    def __enter__(self) -> Self:
        # A daemon thread: a reading that hangs must not keep the process alive.
        Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def take(self) -> TimedValue[T] | BlueGreenError | None:
        """Return the next reading that has not been taken yet, if there is one; a failed one holds its error.

        :raises Exception: the exception of :func:`read`, unless it is an error that a user can cause.
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
                self._found.put(TimedValue(self._read(), began))
            except BaseException as error:
                # Raised by take, where somebody sees it.
                self._found.put(error)
            self._end.wait(self._pause)
