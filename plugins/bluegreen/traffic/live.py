"""The live color, from the answers of all proxies of an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.protocol import Code
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import GoodRelease, Lock, ProxyStatus, ServerState, run_order


class DisagreementError(ProxyError):
    """The proxies of one app do not send traffic to the same color."""


def live_color(statuses: Mapping[str, ProxyStatus], choice: Color | None = None) -> Color | None:
    """Return the color that all proxies send traffic to; None if nothing is live on any of them.

    A proxy that sends traffic nowhere, because it is new or the first switch did not reach it, does not count
    if others do.

    :param statuses: the answer of each proxy, by its name.
    :param choice: the live color according to a person; needed, and allowed, only if the proxies disagree.
    :raises DisagreementError: with each proxy's answer, if they disagree and there is no choice.
    :raises ProxyError: if there is a choice although they agree.
    """
    if not statuses:
        raise ProxyError("there is no proxy to ask which color is live", code="no_proxy")
    known = {name: status.known_live for name, status in sorted(statuses.items())}
    colors: set[Color | None] = {live for live in known.values() if live} or {None}
    each = ", ".join(f"{name}: {live or 'none'}" for name, live in known.items())
    if choice is not None and len(colors) == 1 and choice not in colors:
        raise ProxyError(
            f"the proxies agree about the live color ({each}), so `live` must be left empty",
            code="nothing_to_choose",
        )
    if len(colors) > 1 and choice is None:
        raise DisagreementError(
            f"the proxies disagree about the live color ({each}); run the app's rollback, which goes "
            "back to the color from before, or deploy with `live` set to the color that is right",
            code="disagreement",
        )
    return choice or colors.pop()


def confirmed_revision(live: Color | None, statuses: Iterable[ProxyStatus]) -> str | None:
    """Return the confirmed revision of the live color, if all proxies that know one agree."""
    known = {
        one.confirmed.revision
        for one in statuses
        if live is not None and one.confirmed is not None and one.confirmed.color is live
    }
    return known.pop() if len(known) == 1 else None


def good_releases(color: Color, statuses: Iterable[ProxyStatus]) -> list[GoodRelease]:
    """Return what each proxy knows as confirmed last on a color; a proxy that is new knows nothing."""
    return [status.good[color] for status in statuses if color in status.good]


def require_live(color: Color, statuses: Mapping[str, ProxyStatus]) -> None:
    """Make sure that traffic is still where a run has found it.

    :param color: the color that was live then, on at least one proxy.
    :param statuses: the present answer of each proxy, by its name.
    :raises ProxyError: if it is live on none of them any more.
    """
    if all(status.known_live is not color for status in statuses.values()):
        raise ProxyError(
            f"{color} is not live any more, traffic was moved meanwhile; nothing was changed, trigger a new "
            "run",
            code="moved_meanwhile",
        )


def servers_of(color: Color | None, statuses: Iterable[ProxyStatus]) -> list[ServerState]:
    """Return a color's servers in the proxies; where the proxies differ, the last one counts."""
    return [server for status in statuses for server in status.servers.get(color, ())] if color else []


def color_from_before(statuses: Mapping[str, ProxyStatus]) -> Color:
    """Return the color to go back to if the proxies disagree because a switch was interrupted.

    :raises DisagreementError: if no proxy knows it.
    """
    origins = []
    for one in statuses.values():
        if pending := one.pending:
            origins.append((run_order(pending.token, pending.deadline), pending.from_color))
        if revert := one.unacknowledged_revert:
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
    """Whether the switch of a run that died while confirming counts as confirmed.

    Confirming has two steps: the second one begins only when all proxies have agreed to the first.
    """
    waiting = [status.pending for status in statuses.values() if status.pending]
    return bool(waiting) and all(
        one.prepared and all(status.live is one.to for status in statuses.values()) for one in waiting
    )


def require_supported(statuses: Mapping[str, ProxyStatus]) -> None:
    """Refuse a HAProxy that is too old; an unknown version is refused where it matters.

    :param statuses: the answer of each proxy, by its name.
    :raises ProxyError: with the code ``unsupported``, naming the version.
    """
    for name, status in sorted(statuses.items()):
        if status.too_old:
            raise ProxyError(f"{name}: {status.too_old}; nothing was changed", code=Code.UNSUPPORTED)


def next_token(run: str, statuses: Iterable[ProxyStatus]) -> int | None:
    """Return the smallest token that a run can get on all proxies, or None if no proxy knows any.

    :param run: the run's id on the proxies; a lock that it holds already may stay.
    """

    def smallest(last: int, lock: Lock | None) -> int:
        is_its_own = lock is not None and (lock.run_id, lock.token) == (run, last)
        return last if is_its_own else last + 1

    known = [smallest(one.last_token, one.lock) for one in statuses if one.last_token is not None]
    return max(known, default=None)
