"""Who is live, as the proxies of an app answer together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.protocol import Code
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import Lock, ProxyStatus, ServerState, run_order


class DisagreementError(ProxyError):
    """The proxies of one app do not send traffic to the same color."""


def live_color(statuses: Mapping[str, ProxyStatus], choice: Color | None = None) -> Color | None:
    """Which color all proxies send traffic to; None if nothing is live on any of them.

    A proxy that sends traffic nowhere, because it is new or was not reached by the first switch, does
    not count if others do.

    :param statuses: what each proxy says, by its name.
    :param choice: which color a person says is live; needed, and allowed, only if they disagree.
    :raises DisagreementError: naming what each of them says, if there is no choice.
    :raises ProxyError: if there is nothing to choose.
    """
    if not statuses:
        raise ProxyError("there is no proxy to ask which color is live", code="no_proxy")
    known = {name: status.known_live for name, status in sorted(statuses.items())}
    said: set[Color | None] = {live for live in known.values() if live} or {None}
    each = ", ".join(f"{name}: {live or 'none'}" for name, live in known.items())
    if choice is not None and len(said) == 1 and choice not in said:
        raise ProxyError(
            f"the proxies agree about the live color ({each}), so `live` must be left empty",
            code="nothing_to_choose",
        )
    if len(said) > 1 and choice is None:
        raise DisagreementError(
            f"the proxies disagree about the live color ({each}); run the app's rollback, which goes "
            "back to the color from before, or deploy with `live` set to the color that is right",
            code="disagreement",
        )
    return choice or said.pop()


def confirmed_revision(live: Color | None, statuses: Iterable[ProxyStatus]) -> str | None:
    """Return the revision that is live, if all proxies that know it know the same."""
    known = {
        one.confirmed.revision
        for one in statuses
        if live is not None and one.confirmed is not None and one.confirmed.color is live
    }
    return known.pop() if len(known) == 1 else None


def demand_live(color: Color, statuses: Mapping[str, ProxyStatus]) -> None:
    """Make sure that traffic still is where a run has found it.

    :param color: who was live then, as at least one proxy said.
    :param statuses: what each of them says now, by its name.
    :raises ProxyError: if none of them says so any more.
    """
    if all(status.known_live is not color for status in statuses.values()):
        raise ProxyError(
            f"{color} is not live any more, traffic was moved meanwhile; nothing was changed, trigger a new "
            "run",
            code="moved_meanwhile",
        )


def servers_of(color: Color | None, statuses: Iterable[ProxyStatus]) -> list[ServerState]:
    """Return a color's servers as the proxies know them; where these differ, as the last one does."""
    return [server for status in statuses for server in status.servers.get(color, ())] if color else []


def color_from_before(statuses: Mapping[str, ProxyStatus]) -> Color:
    """Which color to go back to if the proxies disagree because a switch was interrupted.

    :raises DisagreementError: if none of them knows.
    """
    origins = []
    for one in statuses.values():
        if pending := one.pending:
            origins.append((run_order(pending.token, pending.deadline), pending.from_color))
        if revert := one.news:
            origins.append((run_order(revert.token, revert.at), revert.to))
    known = [(order, color) for order, color in origins if color is not None]
    if not known:
        raise DisagreementError(
            "the proxies disagree about the live color, and none of them knows which was live before; "
            "set `live` to the color that is right",
            code="disagreement",
        )
    return max(known)[1]


def is_decided(statuses: Mapping[str, ProxyStatus]) -> bool:
    """Whether a run that died while it confirmed its switch must be taken to have done so.

    It confirms in two steps, so that the second one may begin only when everybody has agreed to the first.
    """
    waiting = [status.pending for status in statuses.values() if status.pending]
    return bool(waiting) and all(
        one.prepared and all(status.live is one.to for status in statuses.values()) for one in waiting
    )


def demand_support(statuses: Mapping[str, ProxyStatus]) -> None:
    """Refuse a HAProxy that is too old; one whose version is not known is refused where that matters.

    :param statuses: what each proxy says, by its name.
    :raises ProxyError: with the code ``unsupported``, naming the version.
    """
    for name, status in sorted(statuses.items()):
        if status.too_old:
            raise ProxyError(f"{name}: {status.too_old}; nothing was changed", code=Code.UNSUPPORTED)


def next_token(run: str, statuses: Iterable[ProxyStatus]) -> int | None:
    """Return the smallest token that a run may be given everywhere, or None if no proxy knows any.

    :param run: the run, as the proxies know it; a lock that it holds already may stay.
    """

    def smallest(last: int, lock: Lock | None) -> int:
        is_its_own = lock is not None and (lock.run_id, lock.token) == (run, last)
        return last if is_its_own else last + 1

    known = [smallest(one.last_token, one.lock) for one in statuses if one.last_token is not None]
    return max(known, default=None)
