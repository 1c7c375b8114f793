"""Where a proxy sent its traffic, at each moment: it is looked at ten times a second."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread
from types import TracebackType

from sandbox import Machine, SandboxError
from tests.sandbox.stack import live_on

LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Look:
    """What was live at a moment between two, in seconds since the epoch."""

    live: str
    began: float
    ended: float


@dataclass(frozen=True)
class Stay:
    """A time in which traffic was with a color that did not keep it.

    :param began: seconds since the epoch, as :attr:`ended`; a moment at which it was surely not there yet.
    :param ended: a moment at which it was surely back.
    :param least: seconds that it was surely there.
    """

    began: float
    ended: float
    least: float


class TrafficWatch:
    """Looks at a proxy's running map, in the background, from ``with`` to its end."""

    def __init__(self, proxy: Machine) -> None:
        self.proxy = proxy
        self.looks: list[Look] = []
        self._end = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TrafficWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(10)

    def stays(self, color: str) -> list[Stay]:
        """Return when traffic was with a color that it has left again."""
        found, since = [], None
        looks = self.looks.copy()
        for before, now in pairwise(looks):
            if now.live == color != before.live:
                since = (before.began, now.ended)
            if before.live == color != now.live and since:
                found.append(Stay(since[0], now.ended, before.began - since[1]))
                since = None
        return found

    def _watch(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            began = time.time()
            with suppress(SandboxError, ValueError):
                self.looks.append(Look(live_on(self.proxy), began, time.time()))
