"""What became of a run's own switch, as the proxies tell it."""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.traffic.agent_answers import Confirmed, LastRevert, Lock, PendingSwitch, ProxyStatus


def waiting_switch(statuses: Mapping[str, ProxyStatus], run: str) -> PendingSwitch | None:
    """Return the switch that a run has neither confirmed nor taken back, if any.

    :param statuses: what each proxy says, by its name.
    :param run: the run, as the proxies know it.
    """
    found = (one.pending for one in statuses.values() if one.pending and one.pending.run_id == run)
    return next(found, None)


def is_own_pending(status: ProxyStatus, run: str) -> bool:
    """Whether a run has switched there since it took its lock, and that is not decided.

    :param status: what the proxy says.
    :param run: the run, as the proxy knows it.
    """
    pending, lock = status.pending, _own_lock(status, run)
    return bool(pending and lock and pending.token == lock.token)


def holds_lock(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether a run still has its lock, so that what is told of it is what it has done since it took that."""
    return any(_own_lock(one, run) for one in statuses.values())


def is_taken_back(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether a switch of this run was taken back, whoever did it: a task, a timer, or a restart."""
    return any(
        one.last_revert is not None
        and not one.last_revert.refused
        and one.last_revert.run_id == run
        and _is_current(one.last_revert, one, run)
        for one in statuses.values()
    )


def is_kept(statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Whether traffic is, everywhere, where a switch of this run has brought it, and stays there."""
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


def _confirmed(status: ProxyStatus, run: str) -> Confirmed | None:
    known = status.confirmed
    return known if known and known.run_id == run and _is_current(known, status, run) else None


def _is_current(done: Confirmed | LastRevert, status: ProxyStatus, run: str) -> bool:
    """Whether a run did it since it began: one that was cleared, and runs again, has another token.

    Without its lock, which it gives back in the end, all that it ever did counts.
    """
    lock = _own_lock(status, run)
    return lock is None or done.token == lock.token


def _own_lock(status: ProxyStatus, run: str) -> Lock | None:
    return status.lock if status.lock and status.lock.run_id == run else None
