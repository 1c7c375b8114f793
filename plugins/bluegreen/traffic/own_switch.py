"""The fate of a run's own switch, from the answers of the proxies."""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.traffic.agent_answers import Confirmed, LastRevert, Lock, PendingSwitch, ProxyStatus


def waiting_switch(statuses: Mapping[str, ProxyStatus], run: str) -> PendingSwitch | None:
    """Return the switch that a run has neither confirmed nor taken back, if any.

    :param statuses: the answer of each proxy, by its name.
    :param run: the run's id on the proxies.
    """
    found = (one.pending for one in statuses.values() if one.pending and one.pending.run_id == run)
    return next(found, None)


def is_own_pending(status: ProxyStatus, run: str) -> bool:
    """Whether a run has switched a proxy since it took its lock, and the switch is undecided.

    :param status: the answer of the proxy.
    :param run: the run's id on the proxy.
    """
    pending, lock = status.pending, _own_lock(status, run)
    return bool(pending and lock and pending.token == lock.token)


def holds_lock(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether a run still has its lock, so that its records are of the time since it took the lock."""
    return any(_own_lock(one, run) for one in statuses.values())


def is_taken_back(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether a switch of this run was taken back, by a task, a timer or a restart."""
    return any(
        one.last_revert is not None
        and not one.last_revert.refused
        and one.last_revert.run_id == run
        and _is_current(one.last_revert, one, run)
        for one in statuses.values()
    )


def is_kept(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether a switch of this run is confirmed, and its color is live, on all proxies."""
    own = [found for one in statuses.values() if (found := _confirmed(one, run))]
    return (
        bool(own)
        and waiting_switch(statuses, run) is None
        and all(
            one.confirmed is not None
            and (one.confirmed.color, one.confirmed.revision) == (one.live, own[0].revision)
            for one in statuses.values()
        )
    )


def is_irreversible(statuses: Mapping[str, ProxyStatus], run: str) -> str | None:
    """Return why there is no way back from the release that this run has switched to, on any proxy."""
    own = (_confirmed(one, run) for one in statuses.values())
    return next((one.irreversible for one in own if one and one.irreversible), None)


def is_judged(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether this run has found good what it has switched to, on every proxy that kept the switch."""
    return all(one.judged for status in statuses.values() if (one := _confirmed(status, run)))


def _confirmed(status: ProxyStatus, run: str) -> Confirmed | None:
    known = status.confirmed
    return known if known and known.run_id == run and _is_current(known, status, run) else None


def _is_current(done: Confirmed | LastRevert, status: ProxyStatus, run: str) -> bool:
    """Whether a record belongs to the run's present attempt: a cleared run gets another token.

    A run that has released its lock is over; then all its records count.
    """
    lock = _own_lock(status, run)
    return lock is None or done.token == lock.token


def _own_lock(status: ProxyStatus, run: str) -> Lock | None:
    return status.lock if status.lock and status.lock.run_id == run else None
