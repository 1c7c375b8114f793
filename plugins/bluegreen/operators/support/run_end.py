"""What the proxies say at the end of a run, and the end of a switch that no task is left to confirm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bluegreen.errors import BlueGreenError
from bluegreen.traffic.agent_answers import PendingSwitch, ProxyStatus
from bluegreen.traffic.drain import sessions_on
from bluegreen.traffic.live import is_decided, live_color
from bluegreen.traffic.own_switch import (
    holds_lock,
    is_irreversible,
    is_judged,
    is_kept,
    is_taken_back,
    waiting_switch,
)

if TYPE_CHECKING:
    from bluegreen.color import Color
    from bluegreen.hooks.proxies import ProxiesHook


@dataclass(frozen=True)
class End:
    """What the proxies say at the end of a run.

    :param live: who is live; only if ``live_known``, which takes that they can be asked, and agree.
    :param taken_back: whether a switch of this run was taken back.
    :param kept: whether a switch of this run is confirmed.
    :param irreversible: why there is no way back from what this run has switched to, if there is none.
    :param judged: whether this run has found good what it has switched to.
    :param locked: whether the run has its lock.
    :param still_running: requests in progress on the color that is not live.
    :param trouble: what went wrong in asking, or in ending a switch that nobody had confirmed.
    :param statuses: everything that they say, by name.
    """

    live: Color | None = None
    live_known: bool = False
    taken_back: bool = False
    kept: bool = False
    irreversible: str | None = None
    judged: bool = True
    locked: bool = False
    still_running: int = 0
    trouble: str | None = None
    statuses: Mapping[str, ProxyStatus] = field(default_factory=dict)


def end_of(hook: ProxiesHook, holder: str) -> End:
    """Find out who is live, after ending a switch that no task is left to confirm.

    :param hook: the proxies that the run has locked.
    :param holder: the run, as the proxies know it.
    """
    try:
        statuses = hook.statuses()
        trouble = None
        if switch := waiting_switch(statuses, holder):
            trouble = _decide(hook, statuses, switch)
            statuses = hook.statuses()
    except BlueGreenError as error:
        return End(trouble=str(error))
    irreversible = is_irreversible(statuses, holder)
    try:
        live = live_color(statuses)
    except BlueGreenError as error:
        trouble = "; ".join(filter(None, (trouble, str(error))))
        return End(trouble=trouble, irreversible=irreversible, statuses=statuses)
    return End(
        live=live,
        live_known=True,
        taken_back=is_taken_back(statuses, holder),
        kept=is_kept(statuses, holder),
        irreversible=irreversible,
        judged=is_judged(statuses, holder),
        locked=holds_lock(statuses, holder),
        still_running=sessions_on(live.other, statuses.values()) if live else 0,
        trouble=trouble,
        statuses=statuses,
    )


def _decide(hook: ProxiesHook, statuses: Mapping[str, ProxyStatus], switch: PendingSwitch) -> str | None:
    """Confirm a switch or take it back, without waiting for its timer; return what went wrong."""
    try:
        if is_decided(statuses):
            hook.confirm(switch.revision)
        else:
            hook.revert()
    except BlueGreenError as error:
        return str(error)
    return None
