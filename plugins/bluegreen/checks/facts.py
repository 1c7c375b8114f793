"""What is known about an app's machines, repository and account before a deploy; nothing here acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, FleetError, ProxyError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.joining import Joining, RunningRelease, joining
from bluegreen.run.nothing_to_do import live_revision
from bluegreen.settings.app import App
from bluegreen.source.policy import Age
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import live_color

T = TypeVar("T")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Unit(_Fact):
    """A systemd unit in systemd's own words."""

    ActiveState: str = ""
    UnitFileState: str = ""
    NeedDaemonReload: str = "no"
    DropInPaths: str = ""


class Machine(_Fact):
    """What is asked of every droplet.

    :param uid: who Airflow is there.
    :param clock: seconds since the epoch by its own clock.
    :param inodes_free: how many files can still be made; ``None`` if the file system does not count.
    :param files: text of the files that were asked for; ``None`` for one that is not there.
    :param unit: the service that the droplet is for.
    """

    uid: int
    clock: float
    disk_free_mb: int
    inodes_free: int | None
    memory_mb: int
    memory_free_mb: int
    files: dict[str, str | None]
    unit: Unit


class Remote(_Fact):
    """What the repository listed, or why it did not."""

    error: str | None
    refs: dict[str, str]


class Load(_Fact):
    """How loading a release ended.

    :param status: its exit status; 124 if there was no time to see its end, ``None`` if it was not loaded.
    :param cause: why it ended so.
    :param read_only: whether it wanted to write, which it was kept from.
    """

    status: int | None
    cause: str
    read_only: bool

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that it was not loaded, and why."""
        return cls(status=None, cause=why, read_only=False)

    @property
    def is_judged(self) -> bool:
        """Whether the result is conclusive: a deploy has more time, and its app may write."""
        return self.status == 0 or (self.status not in (None, 124) and not self.read_only)


class Mirror(_Fact):
    """Which distributions CPAN has.

    :param error: why it did not answer for one of them.
    :param missing: those that it does not have.
    :param unasked: how many there was no time to ask for.
    """

    error: str | None
    missing: tuple[str, ...] = ()
    unasked: int = 0

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that it was not asked, and why."""
        return cls(error=why)

    @property
    def has_all(self) -> bool:
        """Whether every one can be had."""
        return self.error is None and not self.missing and not self.unasked


class ChangedFile(_Fact):
    """A file of a release that is not as it was committed, and what is wrong with it."""

    path: str
    what: str
    diff: tuple[str, ...]


class Comparison(_Fact):
    """How the current release differs from its commit.

    :param problem: why they could not be compared; then nothing else is known.
    :param files: the first of those that differ, and ``more`` the number of the others.
    :param unclear: those that differ, and may do so because git puts into them what changes with time.
    """

    problem: str | None
    files: tuple[ChangedFile, ...] = ()
    more: int = 0
    unclear: tuple[str, ...] = ()


class AppEnvironment(_Fact):
    """What systemd makes of the file with the app's environment.

    :param error: why it cannot read it; then the app does not start.
    :param ignored: names whose assignments it leaves out.
    :param ignored_unnamed: how many lines besides it leaves out, which have no name that may be shown.
    """

    error: str | None = None
    ignored: tuple[str, ...] = ()
    ignored_unnamed: int = 0


class AppServer(Machine):
    """An application droplet.

    :param disk_reserved_mb: what a deploy may use besides what is free, see ``deploy_release.sh.j2``.
    :param inodes_reserved: the same in files.
    :param perl_key: versions of perl and of the C library, which a set of dependencies is built for.
    :param current: the revision that ``current`` points to.
    :param stated: the revision in that release's own ``REVISION``.
    :param running: the release's directory that the service runs in.
    :param start: text of the current release's start script.
    :param cache: keys of the sets of dependencies that are installed already.
    :param jobs: deploys that are at work.
    :param mirror: ``None`` if everything that the revision needs is in the repository, or installed.
    :param compared: ``None`` if there is no release, or nothing to compare it with git.
    """

    tools: dict[str, str | None]
    missing_users: tuple[str, ...]
    disk_reserved_mb: int = 0
    inodes_reserved: int = 0
    perl_key: str
    current: str | None
    stated: str = ""
    running: str | None
    start: str | None = None
    releases: tuple[str, ...]
    activated: tuple[str, ...]
    cache: tuple[str, ...]
    jobs: tuple[str, ...]
    environment: AppEnvironment = AppEnvironment()
    remote: Remote | None
    load: Load | None = None
    compared: Comparison | None
    mirror: Mirror | None = None


class Certificate(_Fact):
    """The public part of a PEM file, and what is wrong with the file; nothing if that is empty."""

    error: str
    pem: str


class HealthAnswer(_Fact):
    """A server's own answer to the health path."""

    status: int | None
    revision: str | None
    error: str | None


class Proxy(Machine):
    """A proxy, apart from its agent's status.

    :param config_error: why HAProxy refuses the configuration that a deploy would install; empty if it does
        not, ``None`` if there was none to show it.
    :param certificates: those that HAProxy takes, by the paths of their files; ``None`` if it takes none.
    :param more_certificates: how many more there are, which were not looked at.
    :param probes: each server's answer by its name, asked from here.
    :param pages: what a live server answers to each of ``validation.paths``; ``None`` for no answer.
    """

    config_error: str | None
    certificates: dict[str, Certificate] | None
    more_certificates: int = 0
    probes: dict[str, HealthAnswer]
    pages: dict[str, int | None] = {}


def version_of(status: ProxyStatus) -> tuple[int, int] | None:
    """Return HAProxy's version, or ``None`` if it is not readable: then HAProxy is not installed."""
    return status.version if status.version > (0, 0) else None


@dataclass(frozen=True)
class Source:
    """What a ref leads to, as Airflow's machine reads it.

    :param problem: why the revision's files could not be read, though the ref is there.
    :param files: every path that a release is made of; ``None`` if they could not be read.
    :param left_out: every path that is committed, and that .gitattributes keeps out of a release.
    :param made_from: what git calls the contents of the files that dependencies are made from, a line each.
    :param links: what each link of a release leads to, by its path; ``links_unread`` is the number of others.
    :param submodules: paths at which another repository is named.
    """

    ref: str
    revision: str
    problem: str | None = None
    files: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()
    cpanfile: str | None = None
    snapshot: str | None = None
    made_from: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    links_unread: int = 0
    submodules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Account:
    """The account, as DigitalOcean's API describes it.

    :param problems: why something else that provisioning needs could not be read, by what it is.
    :param vpc: id of the network that the settings name.
    :param droplets: all with the app's tag; an error if there is no such list.
    """

    droplets: tuple[Droplet, ...] | BlueGreenError
    vpc: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """A machine's answer, or why there is none, and when it was asked and answered by Airflow's clock."""

    answer: T | BlueGreenError
    asked: float
    answered: float


@dataclass(frozen=True)
class Facts:
    """Everything that the checks look at.

    :param source: ``None`` if no ref was asked for.
    :param config: what a deploy would install as ``haproxy.cfg``; it holds a password.
    :param age: how the revision compares with what is live; ``None`` if there is nothing to compare.
    :param allow_older: whether the run asks for a revision that is older than what is live.
    :param chosen: which color is live, where the proxies disagree and somebody has decided.
    :param all_needed: whether what is wrong with any droplet counts, as if each were deployed to.
    """

    app: App
    account: Account
    fleet: Fleet
    source: Source | BlueGreenError | None
    statuses: Mapping[str, ProxyStatus | BlueGreenError]
    proxies: Mapping[str, Reading[Proxy]]
    servers: Mapping[str, Reading[AppServer]]
    config: str | BlueGreenError | None = field(repr=False)
    taken_at: float
    age: Age | BlueGreenError | None = None
    allow_older: bool = False
    chosen: Color | None = None
    all_needed: bool = False

    @property
    def readable(self) -> dict[str, ProxyStatus]:
        """The status of each proxy that could be read."""
        return {name: one for name, one in self.statuses.items() if isinstance(one, ProxyStatus)}

    @cached_property
    def live(self) -> Color | None:
        """Who has the traffic; ``None`` if nobody has, or it is not known."""
        try:
            return live_color(self.readable, self.chosen)
        except ProxyError:
            return None

    @cached_property
    def is_live_known(self) -> bool:
        """Whether every proxy could be asked, and they agree."""
        try:
            live_color(self.readable, self.chosen)
        except ProxyError:
            return False
        return len(self.readable) == len(self.fleet.proxies)

    @property
    def live_revision(self) -> str | None:
        """Which revision is live, as the proxies or else its droplets know."""
        return live_revision(self.live, self.fleet, self.readable.values(), self.seen)

    @property
    def idle(self) -> Color | None:
        """Whom the next deploy is for; ``None`` if that is not known."""
        if not self.is_live_known:
            return None
        return self.live.other if self.live else next(iter(self.readable.values())).idle or Color.BLUE

    def read_servers(self) -> Iterator[tuple[Droplet, AppServer]]:
        """Return the application droplets that could be read."""
        for droplet in self.fleet.blue + self.fleet.green:
            reading = self.servers.get(droplet.name)
            if reading is not None and isinstance(reading.answer, AppServer):
                yield droplet, reading.answer

    def read_proxies(self) -> Iterator[tuple[Droplet, Proxy]]:
        """Return the proxies that could be read."""
        for droplet in self.fleet.proxies:
            reading = self.proxies.get(droplet.name)
            if reading is not None and isinstance(reading.answer, Proxy):
                yield droplet, reading.answer

    def is_needed(self, droplet: Droplet) -> bool:
        """Return whether the next deploy needs this droplet: it touches no droplet of the live color."""
        return self.all_needed or self.idle is None or droplet not in self.fleet.color(self.idle.other)

    @cached_property
    def joining(self) -> Joining:
        """Which droplets of the live color a deploy refuses, or leaves out."""
        if not self.is_live_known:
            return Joining()
        return joining(self.app, self.fleet, self.live, self.readable.values(), self.seen)

    @property
    def seen(self) -> dict[Droplet, RunningRelease | BlueGreenError]:
        """What each application droplet runs, or why that is not known."""
        return {droplet: self._seen(droplet) for droplet in self.fleet.blue + self.fleet.green}

    def _seen(self, droplet: Droplet) -> RunningRelease | BlueGreenError:
        reading = self.servers.get(droplet.name)
        if droplet.problems or reading is None:
            return FleetError("; ".join(droplet.problems) or f"{droplet.name} was not asked")
        if isinstance(reading.answer, BlueGreenError):
            return reading.answer
        return RunningRelease(reading.answer.current, is_active=reading.answer.unit.ActiveState == "active")

    def is_stopped_on_purpose(self, droplet: Droplet, server: AppServer) -> bool:
        """Return whether a droplet of the idle color was stopped by `server.stop_idle_after`."""
        is_idle = self.idle is not None and droplet in self.fleet.color(self.idle)
        unit = server.unit.ActiveState, server.unit.UnitFileState
        return self.app.server.stop_idle_after is not None and is_idle and unit == ("inactive", "disabled")
