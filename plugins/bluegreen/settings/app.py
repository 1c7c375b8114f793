"""Settings of one deployable application: what can be set, and to what."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from croniter import CroniterError, croniter
from pydantic import AfterValidator, Field, model_validator

from bluegreen.errors import RefError
from bluegreen.git_refs import check_ref
from bluegreen.release.system_names import system_name
from bluegreen.settings.networks import Network, Networks
from bluegreen.settings.policy import PolicySettings
from bluegreen.settings.section import Line
from bluegreen.settings.section import Section as _Section

# An app id names a DAG, and with a prefix a Linux user (32 characters at most), see `system_name`.
APP_ID_PATTERN = r"^[a-z][a-z0-9_]{0,27}$"

# What DigitalOcean accepts as a tag.
TAG_PATTERN = r"^[A-Za-z0-9_:-]{1,255}$"

HOST_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"

DEFAULT_PORTS = {"http": 80, "https": 443}

# To each color during a bake, over all paths: the fewest that surely find 5 % errors within ten seconds.
OWN_REQUESTS_PER_SECOND = 50.0

LONGEST_BAKE = 3600.0

# Airflow's own names, and what each stands for.
SCHEDULES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}

PLACEHOLDERS = ("listen", "workers", "psgi")


def check_app_id(app_id: str) -> None:
    """Refuse what is no app's id, before it gets into a script.

    :raises ValueError: saying what it is.
    """
    if not re.fullmatch(APP_ID_PATTERN, app_id):
        raise ValueError(f"{app_id!r} is no app's id")


def _repository_url(url: str) -> str:
    scp_like = re.fullmatch(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._~/-]+", url)
    parts = urlsplit(url)
    if not scp_like and (parts.scheme not in ("https", "http", "ssh") or not parts.hostname):
        raise ValueError("allowed are https://…, http://…, ssh://… and user@host:path")
    if parts.password or (parts.username and parts.scheme in ("http", "https")):
        raise ValueError("a password or token does not belong into this file; use a deploy key")
    return url


def _ref(ref: str) -> str:
    try:
        return check_ref(ref)
    except RefError as error:
        raise ValueError(str(error)) from None


def _public_url(url: str) -> str:
    """Return scheme, host and port as clients send them: in small letters, without the scheme's own port."""
    allowed = (
        "allowed is http:// or https://, a host name and perhaps a port, for example https://www.example.com"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(allowed) from None
    if parts.scheme not in DEFAULT_PORTS or not re.fullmatch(HOST_NAME_PATTERN, host) or len(host) > 253:
        raise ValueError(allowed)
    # Compared as a whole, so that a user, a path, a query and an empty one of these are refused alike.
    shown = f"{host}:{port}" if port is not None else host
    if url.lower() != f"{parts.scheme}://{shown}" or port == 0:
        raise ValueError(f"{allowed}; nothing before or after that")
    return f"{parts.scheme}://{host if port == DEFAULT_PORTS[parts.scheme] else shown}"


def _not_everybody(networks: list[Network]) -> list[Network]:
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(f"{network} is everybody: every client could say who it is, and by https or not")
    return networks


def _command(command: list[str]) -> list[str]:
    for word in command:
        for placeholder in re.findall(r"\{(.*?)\}", word):
            if placeholder not in PLACEHOLDERS:
                raise ValueError(
                    f"unknown placeholder {{{placeholder}}}; there are {', '.join(PLACEHOLDERS)}"
                )
    if not any("{listen}" in word for word in command):
        raise ValueError("the command never says {listen}, so it could not be reached")
    return command


def _schedule(schedule: str) -> str:
    """Allow what Airflow's scheduler can work with: what it cannot ends the reading of every app's DAG."""
    allowed = (
        'allowed is cron\'s notation with its five fields, for example "0 3 * * *", one of '
        f"{', '.join(SCHEDULES)}, or null for never"
    )
    expression = SCHEDULES.get(schedule, schedule)
    # croniter also takes a field for seconds, and for years, and R for a moment by chance.
    if not re.fullmatch(r"[0-9A-Za-z*,/#?-]+( +[0-9A-Za-z*,/#?-]+){4}", expression, re.ASCII):
        raise ValueError(allowed)
    if re.search(r"(?<![A-Za-z])[RrHh](?![A-Za-z])", expression) or not croniter.is_valid(expression):
        raise ValueError(allowed)
    try:
        now = datetime.now(UTC)
        croniter(expression, now).get_next()
        croniter(expression, now).get_prev()
    except CroniterError:
        raise ValueError(f"there is no such day in any year; {allowed}") from None
    return schedule


Tag = Annotated[str, Field(pattern=TAG_PATTERN)]
HostName = Annotated[str, Field(pattern=HOST_NAME_PATTERN, max_length=253)]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/?=&%-]*$", max_length=200)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]
Status = Annotated[int, Field(ge=200, le=599, strict=True)]
ConnectionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class EntryPoint(StrEnum):
    """What clients of an app connect to."""

    DROPLET = "droplet"
    RESERVED_IP = "reserved_ip"
    MANAGED_LOAD_BALANCER = "managed_load_balancer"


class Tags(_Section):
    """DigitalOcean tags that tell what a droplet is for."""

    app: Tag
    blue: Tag = "env:blue"
    green: Tag = "env:green"
    proxy: Tag = "role:loadbalancer"

    @model_validator(mode="after")
    def _different(self) -> Self:
        """DigitalOcean ignores case in tags."""
        tags = self.model_dump()
        for tag in tags.values():
            same = [other for other, found in tags.items() if found.casefold() == tag.casefold()]
            if len(same) > 1:
                raise ValueError(f"{' and '.join(same)} are the same tag, {tag}; DigitalOcean ignores case")
        return self

    @property
    def balanced(self) -> str:
        """On what a managed load balancer sends traffic to, and nothing else.

        It selects by one tag, and the one of proxies may be shared with other apps.
        """
        return f"{self.app}:lb"


class FleetSettings(_Section):
    """Which droplets there are to be."""

    region: Line
    size: Line
    proxy_size: Line | None = None
    image: Line
    vpc: Line | None = None
    ssh_keys: Annotated[list[Line], Field(min_length=1)]
    droplets_per_color: Annotated[int, Field(ge=1, le=100)] = 2
    proxies: Annotated[int, Field(ge=1, le=10)] = 1
    entry_point: EntryPoint = EntryPoint.DROPLET
    tags: Tags


class ServerSettings(_Section):
    """How the application is started on a droplet."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=512)] = 8
    psgi: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$")] = "app.psgi"
    command: Annotated[list[Line], Field(min_length=1), AfterValidator(_command)] = [
        "starman",
        "--listen",
        "{listen}",
        "--workers",
        "{workers}",
        "--disable-keepalive",
        "{psgi}",
    ]
    keep_releases: Annotated[int, Field(ge=2, le=100)] = 5
    longest_request: Annotated[int, Field(ge=1, le=3600)] = 60
    stop_idle_after: Annotated[int, Field(ge=10, le=30 * 86400)] | None = None


class HealthSettings(_Section):
    """What a healthy droplet answers."""

    path: UrlPath = "/health"
    consecutive: Annotated[int, Field(ge=1, le=100)] = 3
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.2
    timeout: Annotated[float, Field(ge=1, le=600)] = 60


class TrafficSettings(_Section):
    """What HAProxy is told."""

    preview_host: HostName
    preview_allow: Networks = []
    trusted_proxies: Annotated[Networks, AfterValidator(_not_everybody)] = []
    public_url: Annotated[Line, AfterValidator(_public_url)] | None = None
    certificate: AbsolutePath | None = None
    timeout_client: Annotated[int, Field(ge=1, le=3600)] = 50
    timeout_server: Annotated[int, Field(ge=1, le=3600)] = 50
    timeout_tunnel: Annotated[int, Field(ge=1, le=86400)] = 3600

    @model_validator(mode="after")
    def _two_hosts(self) -> Self:
        """Clients' requests would go to the idle color otherwise."""
        if self.public_url and urlsplit(self.public_url).hostname == self.preview_host:
            raise ValueError(
                f"preview_host and the host of public_url are both {self.preview_host}; "
                "allowed are two different ones"
            )
        return self

    @property
    def public_host(self) -> str | None:
        """What clients send as ``Host``: a name, and a port if it is not the scheme's own.

        ``None`` if that is not set; then an app is asked by the address of its server.
        """
        return urlsplit(self.public_url).netloc if self.public_url else None

    @property
    def asked(self) -> str:
        """How an app is asked, for people."""
        host = f"with Host {self.public_host}" if self.public_host else "with the server's address as Host"
        return f"{host}, by {'https' if self.https else 'http'}"

    @property
    def https(self) -> bool:
        """Whether clients come by https, so that an app is to see ``X-Forwarded-Proto: https``."""
        return bool(self.public_url) and urlsplit(self.public_url).scheme == "https"


class ValidationSettings(_Section):
    """When a switch is good enough to keep."""

    paths: Annotated[list[UrlPath], Field(min_length=1)] = ["/"]
    statuses: dict[UrlPath, Annotated[list[Status], Field(min_length=1)]] = {}
    bake: Annotated[float, Field(ge=1, le=LONGEST_BAKE)] = 30
    min_requests: Annotated[int, Field(ge=1)] = 30
    consecutive_failures: Annotated[int, Field(ge=2)] = 5
    max_error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.01
    max_retry_rate: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_median_ratio: Annotated[float, Field(gt=1)] = 3
    quick_median: Annotated[float, Field(ge=0, le=4000)] = 10
    max_p99_ratio: Annotated[float, Field(gt=1)] = 5
    quick_p99: Annotated[float, Field(ge=0, le=4000)] = 100
    confirm_within: Annotated[int, Field(ge=10, le=7200)] | None = None

    @model_validator(mode="after")
    def _enough_requests(self) -> Self:
        """A limit that waits for more requests than a bake can make would never be looked at."""
        possible = int(self.bake * OWN_REQUESTS_PER_SECOND / len(self.paths))
        for key in ("min_requests", "consecutive_failures"):
            if getattr(self, key) > possible:
                raise ValueError(
                    f"{key} is {getattr(self, key)}, but a bake of {self.bake:g} s has room for {possible} "
                    f"own requests to each of {len(self.paths)} paths; make it smaller, the bake longer, "
                    "or the paths fewer"
                )
        return self

    @model_validator(mode="after")
    def _time_to_confirm(self) -> Self:
        """A switch that reverts during its bake could never be confirmed."""
        if self.confirm_within is not None and self.confirm_within < self.bake + 10:
            raise ValueError(f"confirm_within must be at least bake + 10, which is {self.bake + 10:g}")
        return self

    @property
    def shortest_bake(self) -> float:
        """The fewest whole seconds that are enough for every limit, or the bake that is set."""
        needed = max(self.min_requests, self.consecutive_failures) * len(self.paths)
        return min(self.bake, max(1, ceil(needed / OWN_REQUESTS_PER_SECOND)))

    def with_bake(self, bake: float) -> ValidationSettings:
        """Return the same settings with another bake time, and more time to confirm if it needs that.

        :param bake: seconds, at least :attr:`shortest_bake`.
        """
        long_enough = self.confirm_within is not None and self.confirm_within >= bake + 10
        confirm_within = self.confirm_within if long_enough else None
        return self.model_validate({**self.model_dump(), "bake": bake, "confirm_within": confirm_within})

    @property
    def seconds_to_confirm(self) -> int:
        """Seconds after which an unconfirmed switch reverts by itself; the bake plus 60 unless set."""
        return self.confirm_within or int(self.bake) + 60


class Timeouts(_Section):
    """Limits, all in seconds."""

    ssh_connect: Annotated[int, Field(ge=1, le=120)] = 10
    ssh_command: Annotated[int, Field(ge=5, le=600)] = 30
    boot: Annotated[int, Field(ge=10, le=3600)] = 600
    build: Annotated[int, Field(ge=10, le=7200)] = 900
    drain: Annotated[int, Field(ge=0, le=86400)] = 120
    lease: Annotated[int, Field(ge=30, le=3600)] = 120
    lock_wait: Annotated[int, Field(ge=0, le=86400)] = 900
    approval: Annotated[int, Field(ge=10, le=82800)] = 3600


class Connections(_Section):
    """Airflow connections that hold the secrets."""

    digitalocean: ConnectionId = "digitalocean"
    ssh: ConnectionId = "bluegreen_ssh"
    haproxy_stats: ConnectionId = "haproxy_stats"
    preview: ConnectionId | None = None


class Notifications(_Section):
    """Which Airflow connections, of type Apprise, hear of what."""

    success: list[ConnectionId] = []
    failure: list[ConnectionId] = []
    rollback: list[ConnectionId] = []
    dry_run_failure: list[ConnectionId] = []
    approval: list[ConnectionId] = []


class Hook(_Section):
    """A command of the app's own; ``user`` is who builds releases, or who runs the app."""

    command: Annotated[list[Line], Field(min_length=1)]
    droplets: Literal["one", "all"] = "all"
    user: Literal["build", "app"] = "app"
    timeout: Annotated[int, Field(ge=1, le=3600)] = 60


class Hooks(_Section):
    """Commands at certain moments of a deploy."""

    before_deploy: list[Hook] = []
    before_switch: list[Hook] = []
    after_switch: list[Hook] = []
    after_rollback: list[Hook] = []
    on_failure: list[Hook] = []


class App(_Section):
    """Everything that is set for one app; ``include/apps/my_perl_app.yaml`` explains each key."""

    id: Annotated[str, Field(pattern=APP_ID_PATTERN)]
    repository: Annotated[Line, AfterValidator(_repository_url)]
    default_ref: Annotated[str, AfterValidator(_ref)]
    fleet: FleetSettings
    server: ServerSettings = ServerSettings()
    health: HealthSettings = HealthSettings()
    traffic: TrafficSettings
    validation: ValidationSettings = ValidationSettings()
    timeouts: Timeouts = Timeouts()
    connections: Connections = Connections()
    notifications: Notifications = Notifications()
    hooks: Hooks = Hooks()
    policy: PolicySettings = PolicySettings()
    dry_run_schedule: Annotated[Line, AfterValidator(_schedule)] | None = "0 3 * * *"

    @property
    def system_name(self) -> str:
        """What the app's unit, user and directories are called on a droplet."""
        return system_name(self.id)

    @model_validator(mode="after")
    def _statuses_of_asked_paths(self) -> Self:
        """Statuses for a path that nobody asks for would be a mistake in its spelling."""
        asked = dict.fromkeys([*self.validation.paths, self.health.path])
        for path in self.validation.statuses:
            if path not in asked:
                raise ValueError(
                    f"validation.statuses: found {path!r}, which is asked by nobody; allowed are the paths "
                    f"of validation.paths and health.path: {', '.join(asked)}"
                )
        return self

    @property
    def seconds_until_stop(self) -> int | None:
        """Seconds after a confirmed switch until the old color is stopped; ``None`` if it stays warm.

        At least ``timeouts.drain``: what a deploy would wait for is not cut.
        """
        after = self.server.stop_idle_after
        return None if after is None else max(after, self.timeouts.drain)

    @property
    def health_question(self) -> dict[str, Any]:
        """What the agent's ``probe`` is asked about a server's health."""
        return {"path": self.health.path, "timeout": 5, **self.asked_like(self.health.path)}

    def asked_like(self, path: str) -> dict[str, Any]:
        """Return how a server is asked for a path, so that its app sees a client: for the agent's verbs.

        :return: ``host`` (``None``: the server's address), ``https`` and, of good answers, ``statuses``.
        """
        return {
            "host": self.traffic.public_host,
            "https": self.traffic.https,
            "statuses": list(self.good_statuses(path)),
        }

    def good_statuses(self, path: str) -> tuple[int, ...]:
        """Return which statuses are good answers to a path; empty for 200 to 299."""
        return tuple(self.validation.statuses.get(path, ()))

    @model_validator(mode="after")
    def _time_to_stop(self) -> Self:
        """The old release is stopped within the time of a build, and its last requests may need long."""
        least = self.server.longest_request + 60
        if self.timeouts.build < least:
            raise ValueError(
                f"timeouts.build is {self.timeouts.build}, but must be at least "
                f"server.longest_request + 60, which is {least}"
            )
        return self
