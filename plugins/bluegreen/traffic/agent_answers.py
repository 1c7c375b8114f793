"""The answers of the agent on a proxy, as types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.protocol import OLDEST_HAPROXY
from bluegreen.color import Color
from bluegreen.errors import ProxyError


def utc(seconds: float) -> str:
    """Show a moment, given in seconds since the epoch, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


class AgentAnswer(BaseModel):
    """An answer of the agent, or a part of one; members that this version does not know are ignored."""

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


class Haproxy(AgentAnswer):
    """The HAProxy process. ``config_sha256`` is known only if the agent itself loaded what runs.

    ``file_sha256`` is of ``haproxy.cfg`` on the disk, with which it would start again; ``None`` without one.
    ``ipv6`` is whether its kernel knows IPv6, so that HAProxy can listen there. ``root`` is whether it has
    root's rights.
    """

    version: str
    running: bool
    config_sha256: str | None
    file_sha256: str | None = None
    ipv6: bool = False
    root: bool | None = None


class TrafficMap(AgentAnswer):
    """The traffic map; ``idle_share`` is the percentage of requests that go to the idle color."""

    live: Color | Literal["none"]
    idle: Color
    idle_share: int


class ServerState(AgentAnswer):
    """A server in HAProxy, with the result of HAProxy's health check, for example ``L7OK``.

    ``maxconn`` is the most requests that it gets at a time; ``None`` if that is not limited.
    """

    name: str
    address: IPv4Address
    port: int
    maxconn: int | None = None
    up: bool
    check: str


class Counters(AgentAnswer):
    """HAProxy's counters of one color since its last reload."""

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
        """Events since ``earlier``, or since the last reload if there was one in between."""
        now, before = self.model_dump(), earlier.model_dump()
        if any(now[name] < before[name] for name in now):
            return self
        return Counters(**{name: now[name] - before[name] for name in now})


class Lock(AgentAnswer):
    """The run that may change this proxy, from ``since`` to ``until``, in seconds since the epoch.

    ``contracts`` is whether the run has begun, or was about to begin, a contract.
    """

    owner: str
    run_id: str
    ref: str
    since: float
    until: float = 0
    token: int
    contracts: bool = False


class PendingSwitch(AgentAnswer):
    """A switch that reverts by itself at ``deadline`` (seconds since the epoch) unless it is confirmed.

    ``prepared`` means that its run has begun to confirm it everywhere. ``token`` is that of its run's lock.
    A switch to a release that is ``irreversible``, with the reason, is pending only where a call was killed:
    the next one keeps it if traffic has moved.
    """

    from_color: Color | None = Field(alias="from")
    to: Color
    revision: str
    run_id: str
    deadline: float
    prepared: bool = False
    token: int | None = None
    irreversible: str | None = None


class StartedRelease(AgentAnswer):
    """What the droplets of a color were started with: the same release and configuration everywhere.

    :param configuration: its digest.
    :param pairings: by droplet name, the SHA-256 of the app's systemd unit there, which pairs the two with a
        command and the droplet's address.
    """

    release: str
    configuration: str
    pairings: dict[str, str]


class GoodRelease(StartedRelease):
    """What was confirmed last on a color, and so what a rollback goes back to."""

    revision: str


class Confirmed(AgentAnswer):
    """The last confirmed switch, its run, and ``at``, its time in seconds since the epoch.

    ``token`` is the token of the run's lock: a run that is cleared gets another one. A switch to a release
    that is ``irreversible``, with the reason, is kept at once; ``judged`` is false until its run has found
    the release good.
    """

    color: Color
    revision: str
    run_id: str | None = None
    token: int | None = None
    at: float | None = None
    irreversible: str | None = None
    judged: bool = True

    def __str__(self) -> str:
        """What happened."""
        moment = f" at {utc(self.at)}" if self.at else ""
        return f"{self.run_id or 'somebody'} has moved it to {self.color}{moment}, and that was kept"


class LastRevert(AgentAnswer):
    """The last switch that was taken back, or, if ``refused``, that could not be taken back.

    ``token`` is the token of the lock of the switch's run.
    """

    from_color: Color = Field(alias="from")
    to: Color | None
    at: float
    reason: str
    run_id: str
    token: int | None = None
    refused: bool = False

    def __str__(self) -> str:
        """Describe the revert, for people."""
        done = "could not be taken back at once" if self.refused else "was taken back"
        return (
            f"an unconfirmed switch by {self.run_id} {done} from {self.from_color} to {self.to or 'none'} "
            f"at {utc(self.at)}: {self.reason}"
        )


class InstalledAgent(AgentAnswer):
    """Where this project's version of the agent belongs, and how the file there differs from it.

    ``difference`` are lines of a diff: None if the file is the same, empty if there is none.
    """

    path: str
    difference: tuple[str, ...] | None


class CertificatePaths(AgentAnswer):
    """Where certificates are on a proxy: the files that Airflow has delivered, and what HAProxy's
    configuration names and is there, in its order.
    """

    delivered: tuple[str, ...] = ()
    configured: tuple[str, ...] = ()


class ProxyStatus(AgentAnswer):
    """The answer to the agent's ``status``.

    ``answer_times`` are averages of the last 1024 requests in milliseconds, queue included, so no counters.
    ``sessions`` are requests and upgraded connections in progress; ``moved_at`` (seconds since the epoch) is
    when traffic last moved, and ``now`` is the proxy's own time. ``good`` is, of each color, what
    was confirmed there last. ``last_token`` is the greatest lock token that it knows, if any.
    ``reached`` are the addresses of the proxies that deploys have reached, ``None`` if it has not
    noted them yet. ``ledger`` is the SHA-256 of the ledger's last line, if there is one.
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
    ledger: str | None = None
    certificates: CertificatePaths = CertificatePaths()
    pending: PendingSwitch | None
    confirmed: Confirmed | None
    good: dict[Color, GoodRelease] = {}
    last_revert: LastRevert | None
    reached: frozenset[str] | None = None
    moved_at: float | None
    agent: InstalledAgent | None = None
    now: float

    @property
    def too_old(self) -> str | None:
        """Describe why this HAProxy is too old; ``None`` if it is not, or if its version is unknown."""
        if not (0, 0) < self.version < OLDEST_HAPROXY:
            return None
        needed = ".".join(map(str, OLDEST_HAPROXY))
        return f"HAProxy {self.haproxy.version} is too old, upgrade it to {needed} or later"

    @property
    def is_deployed_to(self) -> bool:
        """Whether a deploy has reached this proxy: a new one has no map, and sends traffic nowhere.

        A deploy that ended before it reached HAProxy has left only the map's file.
        """
        has_only_the_file = self.haproxy.running and self.moved_at is None and self.confirmed is None
        return self.map_running is not None or (self.map_file is not None and not has_only_the_file)

    @property
    def known_live(self) -> Color | None:
        """The live color, or, while HAProxy does not run, the color that will be live after its start."""
        if self.map_running is None and self.map_file is not None:
            return self.map_file.live if isinstance(self.map_file.live, Color) else None
        return self.live

    @property
    def unacknowledged_revert(self) -> LastRevert | None:
        """The last switch that was taken back, or could not be, unless another was confirmed since.

        A later run has a greater token. The clock, which may have been corrected in between, decides only
        within one run.
        """
        revert, confirmed = self.last_revert, self.confirmed
        if (
            revert
            and confirmed
            and run_order(confirmed.token, confirmed.at) > run_order(revert.token, revert.at)
        ):
            return None
        return revert

    @property
    def served(self) -> Confirmed | None:
        """The kept switch whose release clients get through this proxy.

        ``None`` if they get that of a switch that was not confirmed, or if traffic was moved by hand.
        """
        live, pending, stuck, kept = self.known_live, self.pending, self.unacknowledged_revert, self.confirmed
        if pending and pending.to is live:
            if not pending.irreversible:
                return None
            return Confirmed(
                color=pending.to,
                revision=pending.revision,
                run_id=pending.run_id,
                token=pending.token,
                irreversible=pending.irreversible,
                judged=False,
            )
        if stuck and stuck.refused and stuck.from_color is live:
            return None
        return kept if kept and kept.color is live else None

    @property
    def version(self) -> tuple[int, int]:
        """HAProxy's major and minor version, which its configuration depends on; (0, 0) if unknown."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.haproxy.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


class Probe(AgentAnswer):
    """One HTTP GET made from the proxy."""

    status: int | None
    revision: str | None
    color: str | None
    milliseconds: float
    error: str | None


class SwitchResult(AgentAnswer):
    """A switch: ``at`` in seconds since the epoch, and ``milliseconds`` until the first new answer."""

    from_color: Color | None = Field(alias="from")
    to: Color
    already: bool = False
    prepared: bool = False
    milliseconds: float = 0
    at: float | None = None
    counters: dict[Color, Counters] = {}
    answer_times: dict[Color, int] = {}


class RevertResult(AgentAnswer):
    """A revert; ``reverted`` is false if there was nothing to take back. Traffic is on ``to`` either way."""

    from_color: Color | None = Field(alias="from")
    to: Color | None
    reverted: bool
    milliseconds: float = 0


def run_order(token: int | None, moment: float | None) -> tuple[int, float]:
    """Return a sort key for the actions of runs, the last action last.

    Tokens only grow, so they come first; the clock, which may be set back, decides only within one run.
    """
    return token or 0, moment or 0.0


class DeliveredCertificate(AgentAnswer):
    """A certificate on a proxy, see :class:`agent.proxy.messages.DeliveredCertificate`."""

    changed: bool
    loaded: bool
    served: dict[str, str | None]


class DeliveredCertificates(AgentAnswer):
    """What became of the certificates that were delivered to a proxy, by their names.

    :param answers_challenges: whether HAProxy answers a certificate authority there; ``None`` if unknown.
    """

    certificates: dict[str, DeliveredCertificate]
    reloaded: bool
    answers_challenges: bool | None
