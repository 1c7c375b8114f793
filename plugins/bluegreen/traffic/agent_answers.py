"""Who is live: what the proxy agent answers, as types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bluegreen.color import Color
from bluegreen.errors import ProxyError

# The first version that can replace all keys of a map in one step (`prepare map`, `commit map`).
OLDEST_HAPROXY = (2, 4)


def utc(seconds: float) -> str:
    """Show a moment, given in seconds since the epoch, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


class DisagreementError(ProxyError):
    """The proxies of one app do not send traffic to the same color."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Self:
        """Check an answer of the agent.

        :raises ProxyError: with the agent's own code and message if it refused, or with the code
            ``bad_answer`` if the answer is not what this version of the agent gives.
        """
        if answer.get("ok") is False:
            raise ProxyError(str(answer.get("message")), code=str(answer.get("error")))
        try:
            return cls.model_validate(answer)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the answer"
            raise ProxyError(
                f"the proxy's answer is not usable: {place}: {first['msg']}", code="bad_answer"
            ) from None


class Haproxy(_Answer):
    """The HAProxy process. ``config_sha256`` is known only if the agent itself loaded what runs.

    ``ipv6`` is whether its kernel knows IPv6, so that HAProxy can listen there.
    """

    version: str
    running: bool
    config_sha256: str | None
    workers: int
    old_workers: int = 0
    ipv6: bool = False


class TrafficMap(_Answer):
    """Who is live; ``idle_share`` is the percentage of requests that the idle color is given."""

    live: Color | Literal["none"]
    idle: Color
    idle_share: int


class ServerState(_Answer):
    """A server as HAProxy knows it, and its own health check sees it, for example ``L7OK``.

    ``maxconn`` are the requests that it is given at a time; ``None`` if that is not limited.
    """

    name: str
    address: IPv4Address
    port: int
    maxconn: int | None = None
    up: bool
    check: str


class Counters(_Answer):
    """What HAProxy counted for one color since its last reload."""

    requests: int = 0
    responses_5xx: int = 0
    connection_errors: int = 0
    retries: int = 0
    redispatches: int = 0

    def __add__(self, other: Counters) -> Counters:
        """Events on two proxies together."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Counters(**{name: mine[name] + theirs[name] for name in mine})

    def __sub__(self, earlier: Counters) -> Counters:
        """Events since ``earlier``; a reload in between restarts the count, then those since the reload."""
        now, before = self.model_dump(), earlier.model_dump()
        if any(now[name] < before[name] for name in now):
            return self
        return Counters(**{name: now[name] - before[name] for name in now})


class Lock(_Answer):
    """Who may change this proxy, ``since`` when and ``until`` when, in seconds since the epoch."""

    owner: str
    run_id: str
    ref: str
    since: float
    until: float = 0
    token: int


class PendingSwitch(_Answer):
    """A switch that reverts by itself at ``deadline`` (seconds since the epoch) unless it is confirmed.

    ``prepared`` means that its run had begun to confirm it everywhere; ``token`` is that of its run's lock.
    """

    from_color: Color | None = Field(alias="from")
    to: Color
    revision: str
    run_id: str
    deadline: float
    prepared: bool = False
    token: int | None = None


class Confirmed(_Answer):
    """The last switch that was confirmed, by which run, ``at`` when (seconds since the epoch).

    ``token`` is that of the run's lock: a run that was cleared has another one from then on.
    """

    color: Color
    revision: str
    run_id: str | None = None
    token: int | None = None
    at: float | None = None

    def __str__(self) -> str:
        """What happened."""
        moment = f" at {utc(self.at)}" if self.at else ""
        return f"{self.run_id or 'somebody'} has moved it to {self.color}{moment}, and that was kept"


class LastRevert(_Answer):
    """The last switch that was taken back, or, if ``refused``, that could not be.

    ``token`` is that of the lock of the run whose switch it was.
    """

    from_color: Color = Field(alias="from")
    to: Color | None
    at: float
    reason: str
    run_id: str
    token: int | None = None
    refused: bool = False

    def __str__(self) -> str:
        """What happened, without a run to tell about it."""
        done = "could not be taken back at once" if self.refused else "was taken back"
        return (
            f"an unconfirmed switch by {self.run_id} {done} from {self.from_color} to {self.to or 'none'} "
            f"at {utc(self.at)}: {self.reason}"
        )


class ProxyStatus(_Answer):
    """Everything the agent's ``status`` says.

    ``answer_times`` are averages of the last 1024 requests in milliseconds, queue included, so no counters.
    ``sessions`` are requests and upgraded connections in progress; ``moved_at`` (seconds since the epoch) is
    when traffic last moved, and ``now`` is the proxy's own time. ``good`` is, of each color, the
    revision that was confirmed there last. ``last_token`` is the greatest lock token that it knows, if any.
    ``reached`` are the addresses of the proxies that deploys have reached, ``None`` if it has not
    noted them yet.
    """

    haproxy: Haproxy
    live: Color | None
    idle: Color | None
    map_file: TrafficMap | None
    map_running: TrafficMap | None
    consistent: bool
    servers: dict[Color, tuple[ServerState, ...]]
    counters: dict[Color, Counters]
    answer_times: dict[Color, int] = {}
    sessions: dict[Color, int]
    lock: Lock | None
    last_token: int | None = None
    pending: PendingSwitch | None
    confirmed: Confirmed | None
    good: dict[Color, str] = {}
    last_revert: LastRevert | None
    reached: frozenset[str] | None = None
    moved_at: float | None
    now: float

    @property
    def too_old(self) -> str | None:
        """Say so if this HAProxy cannot do what is asked of it; nothing of one whose version is not known."""
        if not (0, 0) < self.version < OLDEST_HAPROXY:
            return None
        needed = ".".join(map(str, OLDEST_HAPROXY))
        return f"HAProxy {self.haproxy.version} is too old, upgrade it to {needed} or later"

    @property
    def is_deployed_to(self) -> bool:
        """Whether a deploy has been here: one that is new knows no map, and sends nobody anywhere.

        A deploy that ended before HAProxy was told has left no more than the map's file.
        """
        has_only_the_file = self.haproxy.running and self.moved_at is None and self.confirmed is None
        return self.map_running is not None or (self.map_file is not None and not has_only_the_file)

    @property
    def known_live(self) -> Color | None:
        """Who is live, or, while HAProxy does not say so, who will be when it is started or repaired."""
        if self.map_running is None and self.map_file is not None:
            return self.map_file.live if isinstance(self.map_file.live, Color) else None
        return self.live

    @property
    def news(self) -> LastRevert | None:
        """The last switch that was taken back, or could not be, unless one was confirmed since.

        A later run has a greater token. The clock, which may have been wrong and set right in between, only
        decides within one run.
        """
        revert, confirmed = self.last_revert, self.confirmed
        if revert and confirmed and _order(confirmed.token, confirmed.at) > _order(revert.token, revert.at):
            return None
        return revert

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of HAProxy, to render its configuration for; (0, 0) if it is not known."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.haproxy.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


class Probe(_Answer):
    """One HTTP GET made from the proxy."""

    status: int | None
    revision: str | None
    color: str | None
    milliseconds: float
    error: str | None


class SwitchResult(_Answer):
    """``at`` (seconds since the epoch) is when traffic moved, ``milliseconds`` until the first new answer."""

    from_color: Color | None = Field(alias="from")
    to: Color
    already: bool = False
    prepared: bool = False
    milliseconds: float = 0
    at: float | None = None
    counters: dict[Color, Counters] = {}
    answer_times: dict[Color, int] = {}


class RevertResult(_Answer):
    """``reverted`` is false if there was nothing to take back; traffic is on ``to`` either way."""

    from_color: Color | None = Field(alias="from")
    to: Color | None
    reverted: bool
    milliseconds: float = 0


def _order(token: int | None, moment: float | None) -> tuple[int, float]:
    """What runs have done is sorted by this, the last at the end: by their tokens first, which only grow."""
    return token or 0, moment or 0.0


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
            origins.append((_order(pending.token, pending.deadline), pending.from_color))
        if revert := one.news:
            origins.append((_order(revert.token, revert.at), revert.to))
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
            raise ProxyError(f"{name}: {status.too_old}; nothing was changed", code="unsupported")


def next_token(run: str, statuses: Iterable[ProxyStatus]) -> int | None:
    """Return the smallest token that a run may be given everywhere, or None if no proxy knows any.

    :param run: the run, as the proxies know it; a lock that it holds already may stay.
    """

    def smallest(last: int, lock: Lock | None) -> int:
        is_its_own = lock is not None and (lock.run_id, lock.token) == (run, last)
        return last if is_its_own else last + 1

    known = [smallest(one.last_token, one.lock) for one in statuses if one.last_token is not None]
    return max(known, default=None)
