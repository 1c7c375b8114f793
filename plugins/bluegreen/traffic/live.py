"""The live color, from the answers of all proxies of an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.protocol import Code
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import (
    Confirmed,
    GoodRelease,
    Lock,
    ProxyStatus,
    ServerState,
    run_order,
)


class DisagreementError(ProxyError):
    """The proxies of one app do not send traffic to the same color."""


def live_color(statuses: Mapping[str, ProxyStatus]) -> Color | None:
    """Return the color that all proxies send traffic to; None if nothing is live on any of them.

    A proxy that sends traffic nowhere, because it is new or the first switch did not reach it, does not count
    if others do.

    :param statuses: the answer of each proxy, by its name.
    :raises DisagreementError: with each proxy's answer and what to do, if they disagree.
    """
    colors = _live_colors(statuses)
    if len(colors) > 1:
        raise _disagreement(statuses, kept_for_good(statuses))
    return colors.pop()


def color_to_agree_on(
    statuses: Mapping[str, ProxyStatus], choice: Color | None, *, goes_back: bool, i_know: bool
) -> Color | None:
    """Return the live color of a run that makes proxies agree, if they disagree.

    Where some have kept a switch to an irreversible release and others did not follow, no run sends traffic
    to the release from before, unless it is a rollback and somebody knows what that means.

    :param statuses: the answer of each proxy, by its name.
    :param choice: the live color according to a person; allowed only if the proxies disagree, or if it is
        what they agree on.
    :param goes_back: whether the run is a rollback: without a choice, it goes back to the color from before.
    :param i_know: whether somebody takes it upon themselves to go back to before an irreversible release.
    :raises DisagreementError: with each proxy's answer and what to do, if they disagree and the run must not
        decide.
    :raises ProxyError: if there is a choice although they agree.
    """
    colors = _live_colors(statuses)
    if len(colors) == 1:
        if choice is not None and choice not in colors:
            raise ProxyError(
                f"the proxies agree about the live color ({_each(statuses)}), so `live` must be left empty",
                code="nothing_to_choose",
            )
        return colors.pop()
    if kept := kept_for_good(statuses):
        if choice is kept.color:
            return choice
        if goes_back and i_know:
            return kept.color.other
        raise _disagreement(statuses, kept)
    if choice is None and goes_back:
        return _color_from_before(statuses)
    if choice is None:
        raise _disagreement(statuses, None)
    return choice


def kept_for_good(statuses: Mapping[str, ProxyStatus]) -> Confirmed | None:
    """Return the switch that all proxies should have followed, because its release is irreversible.

    It is the newest one that clients get. Of an older one the clients have got something else since, by
    another switch that was kept.
    """
    served = [one.served for one in statuses.values() if one.served]
    # Each proxy has its own clock, so only tokens are compared. Of one run, what is irreversible counts.
    newest = max(served, key=lambda one: (one.token or 0, bool(one.irreversible)), default=None)
    return newest if newest and newest.irreversible else None


def _live_colors(statuses: Mapping[str, ProxyStatus]) -> set[Color | None]:
    """Return the colors that proxies send traffic to; None alone if there is no traffic."""
    if not statuses:
        raise ProxyError("there is no proxy to ask which color is live", code="no_proxy")
    return {one.known_live for one in statuses.values() if one.known_live} or {None}


def _each(statuses: Mapping[str, ProxyStatus]) -> str:
    return ", ".join(f"{name}: {one.known_live or 'none'}" for name, one in sorted(statuses.items()))


def _disagreement(statuses: Mapping[str, ProxyStatus], kept: Confirmed | None) -> DisagreementError:
    """Return the error of a run that must not decide.

    :param kept: the switch to an irreversible release that not all proxies have followed.
    """
    what = f"the proxies disagree about the live color ({_each(statuses)})"
    if kept is None:
        advice = "run the app's rollback, which goes back to the color from before, or deploy with `live` "
        return DisagreementError(f"{what}; {advice}set to the color that is right", code="disagreement")
    what += f", and there is no way back from the release on {kept.color} ({kept.irreversible})"
    return DisagreementError(
        f"{what}; to send all traffic to {kept.color}, run the app's rollback with `live` set to {kept.color}"
        f", or deploy with that; to send it back to {kept.color.other} nevertheless, run the app's rollback "
        "with `i_know`",
        code="disagreement",
    )


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


def require_live(color: Color, statuses: Mapping[str, ProxyStatus], *, i_know: bool = False) -> None:
    """Make sure that traffic is still where a run has found it, so that all proxies may be sent there.

    :param color: the color that was live then, on at least one proxy.
    :param statuses: the present answer of each proxy, by its name.
    :param i_know: as in :func:`color_to_agree_on`.
    :raises ProxyError: if it is live on none of them any more.
    :raises DisagreementError: if one has kept a switch to an irreversible release on the other color, as
        where a task of the switch's own run is cleared.
    """
    kept = kept_for_good(statuses)
    if kept and kept.color is not color and not i_know:
        raise _disagreement(statuses, kept)
    if all(status.known_live is not color for status in statuses.values()):
        raise ProxyError(
            f"{color} is not live any more, traffic was moved meanwhile; nothing was changed, trigger a new "
            "run",
            code="moved_meanwhile",
        )


def servers_of(color: Color | None, statuses: Iterable[ProxyStatus]) -> list[ServerState]:
    """Return a color's servers in the proxies; where the proxies differ, the last one counts."""
    return [server for status in statuses for server in status.servers.get(color, ())] if color else []


def _color_from_before(statuses: Mapping[str, ProxyStatus]) -> Color:
    """Return the color to go back to if the proxies disagree because a switch was interrupted.

    What is older than a switch that another proxy has kept since, and that clients get, does not count.

    :raises DisagreementError: if no proxy knows it.
    """
    kept = max((one.served.token or 0 for one in statuses.values() if one.served), default=0)
    origins = []
    for one in statuses.values():
        if pending := one.pending:
            origins.append((run_order(pending.token, pending.deadline), pending.from_color))
        if revert := one.unacknowledged_revert:
            origins.append((run_order(revert.token, revert.at), revert.to))
    known = [(order, color) for order, color in origins if color is not None and order[0] >= kept]
    if not known:
        raise DisagreementError(
            f"the proxies disagree about the live color ({_each(statuses)}), and none of them knows which "
            "was live before; set `live` to the color that is right",
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
