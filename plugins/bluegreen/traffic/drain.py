"""Requests and upgraded connections that outlive a switch.

They end on the color where they began, so that color is not touched before.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus


class Drain(BaseModel):
    """How the color that a run deploys to became free.

    :param color: that color.
    :param seconds: from when traffic moved away until its last session ended, or was given up; 0 if there was
        none at the first look.
    :param waited: the part of those seconds that the run has waited.
    :param cut: sessions that were given up. The server still has its time for them when it is stopped;
        what is not done by then is cut.
    """

    model_config = ConfigDict(frozen=True)

    color: Color
    seconds: float = 0.0
    waited: float = 0.0
    cut: int = 0


def sessions_on(color: Color, statuses: Iterable[ProxyStatus]) -> int:
    """Count the requests and upgraded connections in progress on a color, on all proxies together."""
    return sum(status.sessions[color] for status in statuses)


def seconds_since_move(statuses: Iterable[ProxyStatus]) -> float:
    """Return how many seconds ago traffic last moved, by the proxies' own clocks; 0 if unknown."""
    known = [status.now - status.moved_at for status in statuses if status.moved_at is not None]
    return max(0.0, min(known, default=0.0))


def requests(number: int) -> str:
    """Return a number of requests in words."""
    return "1 request" if number == 1 else f"{number} requests"
