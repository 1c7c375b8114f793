"""When the idle color is stopped."""

from __future__ import annotations

from collections.abc import Iterable

from bluegreen.errors import BlueGreenError
from bluegreen.traffic.agent_answers import ProxyStatus


def switched_since(statuses: Iterable[ProxyStatus], token: int) -> str | None:
    """Return the run of a later switch, whether that was kept or taken back; ``None`` if there is none.

    :param token: that of the run after which the idle color is to be stopped.
    """
    known = [done for one in statuses for done in (one.confirmed, one.last_revert) if done]
    later = [done.run_id or "another run" for done in known if (done.token or 0) > token]
    return next(iter(later), None)


def seconds_left(statuses: Iterable[ProxyStatus], after: int) -> float:
    """Return how long the idle color stays warm from now on, by the proxies' own clocks.

    :param after: seconds from the last switch that was confirmed, or from when traffic moved since.
    :raises BlueGreenError: if no proxy knows of such a switch.
    """
    ages = [
        one.now - max(one.confirmed.at, one.moved_at or 0)
        for one in statuses
        if one.confirmed and one.confirmed.at
    ]
    if not ages:
        raise BlueGreenError("no proxy knows when its switch was confirmed; nothing was stopped")
    return max(0.0, after - min(ages))
