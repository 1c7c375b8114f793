"""Obstacles to a deploy, in the same words for the dry run and for the deploy itself."""

from __future__ import annotations

from collections.abc import Collection

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus


def no_haproxy(status: ProxyStatus) -> str | None:
    """Return the problem if HAProxy's version is unknown or too old."""
    if status.version > (0, 0):
        return status.too_old
    return f"HAProxy is not installed, or its version cannot be read ({status.haproxy.version!r})"


def gradual_shift(idle: Color, statuses: Collection[ProxyStatus]) -> str | None:
    """Return the problem if the idle color has a share of the traffic, so that it must not be touched."""
    share = max((one.map_running.idle_share for one in statuses if one.map_running), default=0)
    if not share:
        return None
    return f"{idle} is given {share} % of the requests (idle_share in traffic.map); end that first"
