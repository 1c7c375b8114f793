"""The time when the idle color is stopped."""

from __future__ import annotations

from collections.abc import Iterable

from bluegreen.errors import BlueGreenError
from bluegreen.traffic.agent_answers import ProxyStatus


def switched_since(statuses: Iterable[ProxyStatus], token: int) -> str | None:
    """Return the run of a later switch, whether it was kept or reverted; ``None`` if there is none.

    :param token: the token of the run that scheduled the stop.
    """
    known = [done for one in statuses for done in (one.confirmed, one.last_revert) if done]
    later = [done.run_id or "another run" for done in known if (done.token or 0) > token]
    return next(iter(later), None)


def seconds_left(statuses: Iterable[ProxyStatus], after: int) -> float:
    """Return how many more seconds the idle color stays warm, by the proxies' own clocks.

    :param after: seconds since the last confirmed switch, or since traffic last moved if that was later.
    :raises BlueGreenError: if no proxy knows such a switch.
    """
    ages = [
        one.now - max(one.confirmed.at, one.moved_at or 0)
        for one in statuses
        if one.confirmed and one.confirmed.at
    ]
    if not ages:
        raise BlueGreenError("no proxy knows when its switch was confirmed; nothing was stopped")
    return max(0.0, after - min(ages))
