"""Whether there is nothing to do, because a run's goal is reached already."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.joining import RunningRelease
from bluegreen.run.plan import Plan
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import confirmed_revision


def moved_back(plan: Plan, statuses: Collection[ProxyStatus], rollbacks: str) -> str | None:
    """Describe the last switch if it moved traffic off the now-idle color, or there and was reverted.

    Otherwise the result is ``None``. A rollback's switch that was reverted does not count: moving there is
    the purpose of a rollback. One that was kept does count: a second rollback a moment later must not bring
    the bad release back. Nor may it after a rollback that has only made the proxies agree, and so has left
    the last switch that was kept, or after somebody has moved traffic by hand.

    :param statuses: the answer of each proxy.
    :param rollbacks: the prefix of the run ids of rollbacks, as the proxies know them.
    """
    if plan.live is None or any(status.live is not plan.live for status in statuses):
        return None
    for revert in (status.unacknowledged_revert for status in statuses):
        if revert and revert.from_color is plan.idle and not revert.refused:
            return None if revert.run_id.startswith(rollbacks) else str(revert)
    kept = [status.confirmed for status in statuses]
    own = all(one and one.color is plan.live and (one.run_id or "").startswith(rollbacks) for one in kept)
    # However long ago that was, a color without a healthy server is no place to stay on.
    alive = all(any(server.up for server in status.servers[plan.live]) for status in statuses)
    if own and alive:
        return str(kept[0])
    last = max(filter(None, kept), key=lambda one: one.token or 0, default=None)
    left = last and last.token and last.color is plan.idle
    return f"{last}, and traffic has been moved from there since" if left and alive else None


def live_revision(
    live: Color | None,
    fleet: Fleet,
    statuses: Collection[ProxyStatus],
    seen: Mapping[Droplet, RunningRelease | BlueGreenError],
) -> str | None:
    """Return the live revision, from the proxies or else from the droplets.

    :param live: who has the traffic; ``None`` if nobody has.
    :param statuses: the answer of each proxy.
    :param seen: what each application droplet runs, or the reason why that is not known.
    """
    if live is None:
        return None
    answers = (seen[droplet] for droplet in fleet.color(live))
    running = {one.revision for one in answers if isinstance(one, RunningRelease)}
    return confirmed_revision(live, statuses) or (running.pop() if len(running) == 1 else None)


def live_everywhere(
    plan: Plan,
    revision: str,
    statuses: Collection[ProxyStatus],
    seen: Mapping[Droplet, RunningRelease | BlueGreenError],
) -> RunningRelease | None:
    """Return the one release of a revision that is live on every droplet, was judged, and is healthy.

    The result is ``None`` if there is none, or if the droplets have different releases or configurations.

    :param statuses: the answer of each proxy.
    :param seen: what each application droplet runs, or the reason why that is not known.
    """
    if plan.live is None:
        return None
    droplets = plan.fleet.color(plan.live)
    running = seen[droplets[0]]
    if not isinstance(running, RunningRelease) or running.revision != revision or not running.is_active:
        return None
    is_live = all(seen[droplet] == running for droplet in droplets) and all(
        status.live is plan.live
        and status.consistent
        # An unconfirmed revision, like the first release of a run that died, was never judged.
        and status.confirmed is not None
        and status.confirmed.judged
        and (status.confirmed.color, status.confirmed.revision) == (plan.live, revision)
        and sum(server.up for server in status.servers[plan.live]) == len(droplets)
        for status in statuses
    )
    return running if is_live else None
