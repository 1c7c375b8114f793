"""What is known about an app's machines, repository and account before a deploy; nothing here acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import Field

from agent.release_name import revision_of
from bluegreen.checks.account_facts import Account
from bluegreen.checks.ledger_facts import LedgerChain
from bluegreen.checks.release_facts import (
    AppEnvironment,
    Comparison,
    Fact,
    Load,
    Mirror,
    PendingMigrations,
    ReachedServices,
    UsedConfiguration,
)
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, FleetError, ProxyError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.joining import Joining, RunningRelease, joining
from bluegreen.fleet.port_trials import PortTrial, port_trials
from bluegreen.run.nothing_to_do import live_revision
from bluegreen.run.previous import HealthyPairing
from bluegreen.run.processes import ProcessFact
from bluegreen.settings.app import App
from bluegreen.source.policy import Age
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import live_color, servers_of

T = TypeVar("T")


class Unit(Fact):
    """A systemd unit in systemd's own words."""

    ActiveState: str = ""
    UnitFileState: str = ""
    NeedDaemonReload: str = "no"
    DropInPaths: str = ""


class Machine(Fact):
    """What is asked of every droplet.

    :param uid: who Airflow is there.
    :param clock: seconds since the epoch by its own clock.
    :param inodes_free: how many files can still be made; ``None`` if the file system does not count.
    :param files: text of the files that were asked for; ``None`` for one that is not there.
    :param unit: the service that the droplet is for.
    :param ports: what the ports have answered that it was asked to try, see :mod:`agent.facts.ports`.
    """

    uid: int
    clock: float
    disk_free_mb: int
    inodes_free: int | None
    memory_mb: int
    memory_free_mb: int
    files: dict[str, str | None]
    unit: Unit
    ports: dict[str, str] = Field(default_factory=dict)


class Processes(Fact):
    """The processes and timers of an application droplet."""

    processes: tuple[ProcessFact, ...]


class AppServer(Machine):
    """An application droplet; releases are named as in :mod:`agent.release_name`.

    :param tools: the version of each program that was asked for; ``None`` if it is not there, or broken.
    :param package_versions: of the Debian packages that the app needs and that are installed.
    :param missing_packages: Debian packages that the app needs and that are not installed.
    :param unknown_packages: those of them that the droplet's package sources do not have.
    :param disk_reserved_mb: what a deploy may use besides what is free.
    :param inodes_reserved: the same in files.
    :param perl_key: versions of perl and of the C library, which distributions are built for.
    :param perl_changeable: the part of the path of the app's perl that others than root may change.
    :param current: the release that ``current`` leads to.
    :param running: the release that the service runs in.
    :param activated: what was healthy there, the latest first.
    :param jobs: builds and deploys that are at work.
    :param commands: the runs whose one-off commands are.
    :param configuration: ``None`` if the unit names none.
    :param process_units: digest of the unit files of processes and timers; ``None`` if there are none.
    :param foreign_units: names of unit files that have the name of one of those, and that no deploy has
        written.
    :param migrations: ``None`` if the droplet was not asked; likewise ``services``.
    :param processes: the processes and timers of its release, and what is left of others.
    :param mirror: ``None`` if nothing has to be fetched from there.
    :param compared: ``None`` if there is no release.
    """

    tools: dict[str, str | None]
    missing_users: tuple[str, ...]
    package_versions: dict[str, str] = Field(default_factory=dict)
    missing_packages: tuple[str, ...] = ()
    unknown_packages: tuple[str, ...] = ()
    disk_reserved_mb: int = 0
    inodes_reserved: int = 0
    perl_key: str
    perl_changeable: str | None = None
    current: str | None
    running: str | None
    releases: tuple[str, ...]
    activated: tuple[HealthyPairing, ...]
    jobs: tuple[str, ...]
    commands: tuple[str, ...] = ()
    environment: AppEnvironment = AppEnvironment()
    configuration: UsedConfiguration | None = None
    process_units: str | None = None
    foreign_units: tuple[str, ...] = ()
    load: Load | None = None
    compared: Comparison | None = None
    mirror: Mirror | None = None
    migrations: PendingMigrations | None = None
    processes: tuple[ProcessFact, ...] = ()
    services: ReachedServices | None = None

    @property
    def revision(self) -> str | None:
        """The revision of the current release."""
        return revision_of(self.current) if self.current else None

    @property
    def configured(self) -> dict[str, str]:
        """By release that was healthy there, the digest of its configuration then."""
        return {one.release: one.configuration for one in reversed(self.activated)}

    def release_for(self, revision: str) -> str | None:
        """Return a release of a revision that is there: the current one, one that was healthy, or any."""
        found = [one for one in self.releases if revision_of(one) == revision]
        return max(found, key=lambda one: (one == self.current, one in self.configured), default=None)

    def configuration_for(self, release: str, wanted: object = None) -> str | None:
        """Return the digest of a configuration on the droplet that a release can be loaded with.

        It is the wanted one if that is there, or else the one in use, or else the one that the release was
        healthy with.

        :param wanted: the digest that a deploy would deliver, if that is known.
        """
        used = self.configuration.digest if self.configuration and not self.configuration.problem else None
        if wanted in {used, *(one.configuration for one in self.activated)} and isinstance(wanted, str):
            return wanted
        return used or self.configured.get(release)


class Certificate(Fact):
    """The public part of a PEM file, and what is wrong with the file; nothing if that is empty."""

    error: str
    pem: str


class HealthAnswer(Fact):
    """A server's own answer to the health path."""

    status: int | None
    revision: str | None
    error: str | None


class Proxy(Machine):
    """A proxy, apart from its agent's status.

    :param config_error: why HAProxy refuses the configuration that a deploy would install; empty if it does
        not, ``None`` if there was none to show it.
    :param certificates: those that HAProxy takes, by the paths of their files.
    :param more_certificates: how many more there are, which were not looked at.
    :param probes: each server's answer by its name, asked from here.
    :param pages: what a live server answers to each of ``validation.paths``; ``None`` for no answer.
    :param ledger: whether its ledger is as it was written.
    """

    config_error: str | None
    certificates: dict[str, Certificate]
    more_certificates: int = 0
    probes: dict[str, HealthAnswer]
    pages: dict[str, int | None] = Field(default_factory=dict)
    ledger: LedgerChain | None = None


def version_of(status: ProxyStatus) -> tuple[int, int] | None:
    """Return HAProxy's version, or ``None`` if it is not readable: then HAProxy is not installed."""
    return status.version if status.version > (0, 0) else None


@dataclass(frozen=True)
class Source:
    """What a ref leads to, and the source that a deploy would build from.

    :param problem: why the source could not be fetched, though the ref is there.
    :param files: paths of every file and link of the repository; ``None`` if it could not be fetched.
    :param root: the app's directory there, see ``server.root``.
    :param cpanfile: text of the file of that name; ``snapshot`` is that of ``cpanfile.snapshot``.
    :param links: what each link of the source leads to, by its path.
    :param templates: texts of the templates of delivered files by their paths, or why one cannot be read.
    """

    ref: str
    revision: str
    problem: str | None = None
    files: frozenset[str] | None = None
    root: str = "."
    cpanfile: str | None = None
    snapshot: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] | BlueGreenError = field(default_factory=dict)

    @cached_property
    def app_files(self) -> frozenset[str]:
        """Paths of the app's files, relative to its directory."""
        start = "" if self.root == "." else f"{self.root}/"
        return frozenset(path.removeprefix(start) for path in self.files or () if path.startswith(start))


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
    :param configuration: digest of what a deploy would deliver as the app's environment and files; ``None``
        if that depends on a source that is not known.
    :param store: why the artifact store cannot be used, or ``None``.
    :param artifact: why the artifact of CI that was asked for cannot be deployed, or ``None``.
    :param is_built: whether the store has the artifact that a deploy would ship.
    :param age: how the revision compares with what is live; ``None`` if there is nothing to compare.
    :param no_way_back: why a rollback would be refused although the idle color is healthy; ``None`` if it
        would not be, or if that is not known.
    :param allow_older: whether the run asks for a revision that is older than what is live.
    :param airflow_ports: what the ports have answered that Airflow has tried.
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
    configuration: str | BlueGreenError | None = None
    store: BlueGreenError | None = None
    artifact: BlueGreenError | None = None
    is_built: bool = False
    age: Age | BlueGreenError | None = None
    no_way_back: str | None = None
    allow_older: bool = False
    airflow_ports: Mapping[str, str] = field(default_factory=dict)
    chosen: Color | None = None
    all_needed: bool = False

    @property
    def readable(self) -> dict[str, ProxyStatus]:
        """The status of each proxy that could be read."""
        return {name: one for name, one in self.statuses.items() if isinstance(one, ProxyStatus)}

    @cached_property
    def live(self) -> Color | None:
        """Who has the traffic; ``None`` if nobody has, or it is not known."""
        if self.chosen is not None:
            return self.chosen
        try:
            return live_color(self.readable)
        except ProxyError:
            return None

    @cached_property
    def is_live_known(self) -> bool:
        """Whether every proxy could be asked, and they agree."""
        try:
            if self.chosen is None:
                live_color(self.readable)
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

    @property
    def builder(self) -> Droplet | None:
        """The droplet that the next deploy builds on; ``None`` if it is not known which color is idle."""
        return next(iter(self.fleet.color(self.idle)), None) if self.idle else None

    @property
    def server_ports(self) -> dict[str, int]:
        """The ports of application droplets in the proxies' configuration, by their names."""
        statuses = self.readable.values()
        return {one.name: one.port for color in Color for one in servers_of(color, statuses)}

    @cached_property
    def port_trials(self) -> list[PortTrial]:
        """Which ports are tried, from where."""
        return port_trials(self.app, self.fleet, self.server_ports)

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

    def is_loaded_otherwise(self, server: AppServer) -> bool:
        """Return whether a droplet has loaded the revision with another configuration than a deploy's."""
        release = server.release_for(self.source.revision) if isinstance(self.source, Source) else None
        if server.load is None or release is None or not isinstance(self.configuration, str):
            return False
        return server.configuration_for(release, self.configuration) != self.configuration

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
        server = reading.answer
        digest = server.configuration.digest if server.configuration else None
        return RunningRelease(server.current, server.unit.ActiveState == "active", digest)

    def is_stopped_on_purpose(self, droplet: Droplet, server: AppServer) -> bool:
        """Return whether a droplet of the idle color was stopped by `server.stop_idle_after`."""
        is_idle = self.idle is not None and droplet in self.fleet.color(self.idle)
        unit = server.unit.ActiveState, server.unit.UnitFileState
        return self.app.server.stop_idle_after is not None and is_idle and unit == ("inactive", "disabled")
