"""How a bake goes, for those who watch it: left in Airflow while it lasts, and never waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bluegreen.validation.background import BackgroundReader

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import ProxyStatus
    from bluegreen.validation.client_requests import ClientRequests

PROGRESS_KEY = "progress"
# Seconds between two XComs: each is a request to Airflow's API server.
LEAVE_SECONDS = 5.0
# A longer curve is thinned out.
MOST_POINTS = 60


class BakeProgress:
    """The figures of a bake so far, as the XCom ``progress`` of its task.

    The XCom has ``began``, ``ends`` and ``reverts_at`` (when the first proxy takes the switch back by itself;
    ``None`` if that is unknown), in seconds since the epoch. Each of its ``points`` has the seconds since the
    beginning, the requests to the new color, clients' and own, and those that were answered with 5xx.

    :param bake: how many seconds the bake lasts.
    """

    def __init__(self, run: ThisRun, bake: float) -> None:
        self._run = run
        self._began = time.time()
        self._ends = self._began + bake
        self._reverts_at: float | None = None
        self._points: list[tuple[float, int, int]] = []

    def note(self, statuses: Iterable[ProxyStatus], traffic: Iterable[ClientRequests]) -> None:
        """Add what the proxies have counted by now."""
        counted = [one.since_switch for one in traffic]
        requests, failed = sum(one.requests for one in counted), sum(one.responses_5xx for one in counted)
        points = self._points if len(self._points) < MOST_POINTS else self._points[::2]
        # Replaced as a whole, since another thread reads it.
        self._points = [*points, (round(time.time() - self._began, 1), requests, failed)]
        deadlines = [one.pending.deadline for one in statuses if one.pending]
        self._reverts_at = min(deadlines, default=None)

    def left_in_time(self) -> BackgroundReader[None]:
        """Leave the figures every few seconds in the ``with`` block.

        That is done in a thread, and what fails there is of no consequence: neither a slow API server nor one
        that is away may delay a verdict.
        """
        return BackgroundReader(self._leave, LEAVE_SECONDS)

    def _leave(self) -> None:
        self._run.push(PROGRESS_KEY, self._value())

    def _value(self) -> dict[str, Any]:
        return {
            "began": round(self._began, 1),
            "ends": round(self._ends, 1),
            "reverts_at": self._reverts_at,
            "points": [list(one) for one in self._points],
        }
