"""HAProxy's configuration: who exists in the fleet of an app."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.patterns import (
    APP_ID,
    FILE_PATH,
    HOST_NAME,
    LONGEST_HOST_NAME,
    PREVIEW_KEY,
    PRINTABLE,
    SERVER_NAME,
    STATS_USER,
    URL_PATH,
)
from bluegreen.settings.traffic import LONGEST_SILENCE, LONGEST_TUNNEL
from bluegreen.settings.validation import STATUSES
from bluegreen.templates import environment
from bluegreen.traffic import proxy_headers
from bluegreen.traffic.preview_key import PREVIEW_KEY_HEADER

PUBLIC_HOST = HOST_NAME + r"(:[0-9]{1,5})?"

# Port and path at which HAProxy reports, by GET, that it takes traffic; see haproxy.cfg.j2.
MONITOR_PORT, MONITOR_PATH = 8405, "/monitor"
# The longest chain of trusted proxies that is followed: a CDN, its inner shield, and one more.
LONGEST_CHAIN = 5
# HAProxy reads at most 64 words and 2048 characters of a line.
NETWORKS_A_LINE = 40
# What somebody is answered who asks for the preview host and may not see it; see haproxy.cfg.j2.
NO_PREVIEW_STATUS = 403
NO_PREVIEW = (
    f"This host shows a release that is not live. It needs the header {PREVIEW_KEY_HEADER}, "
    "or an address in traffic.preview_allow."
)
_SERVER_LINE = re.compile(
    r"\s*server\s+(?P<name>\S+)\s+(?P<address>[0-9.]+):(?P<port>\d+)\s+check"
    r"\s+maxconn\s+(?P<maxconn>\d+)\s*\Z"
)


@dataclass(frozen=True, order=True)
class Server:
    """One application server behind HAProxy.

    :param name: the droplet's name, unique within its color.
    :param address: its private address, to which HAProxy connects.
    :param port: TCP port of the application.
    :param maxconn: the most requests that it gets at a time: its number of workers.
    :raises BlueGreenError: if the name is not a droplet's name, or a number is out of range.
    """

    name: str
    address: IPv4Address
    port: int
    maxconn: int

    def __post_init__(self) -> None:
        _require("server name", self.name, SERVER_NAME)
        if not isinstance(self.address, IPv4Address):
            raise BlueGreenError(f"server {self.name}: {self.address!r} is not an IPv4 address")
        _require_number(f"port of server {self.name}", self.port, 1, 65535)
        _require_number(f"connections of server {self.name}", self.maxconn, 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class ConfigValues:
    """The values that ``haproxy.cfg`` is rendered from; the live color is none of them.

    :param app: id of the app, for the file's heading.
    :param servers: the fleet; both colors need at least one server.
    :param health_path: the path of HAProxy's health checks, which use GET.
    :param health_statuses: the statuses of a healthy server; if empty, 200 to 299.
    :param public_host: ``Host`` of the health checks, perhaps with a port; ``None``: HTTP/1.0 without a host.
    :param https: whether clients use https; health checks and requests with the preview key then have
        ``X-Forwarded-Proto: https``.
    :param stats_user: name for the statistics page.
    :param stats_password: password for the statistics page; never part of an error's text.
    :param preview_host: host name that always leads to the idle color, for clients who may see it.
    :param preview_key: value of the header that lets a client see it; never part of an error's text.
    :param preview_allow: networks from which no key is needed.
    :param certificate: path of a PEM file on the proxy; adds port 443.
    :param balanced_from: network of a managed load balancer in front of HAProxy. Its connections begin with
        the client's address in the PROXY protocol; all other connections are clients'.
    :param trusted_proxies: networks whose headers about their clients are believed.
    :param ipv6: whether the proxies' kernels support IPv6; if not, HAProxy would not start with it.
    :param timeout_client: seconds a client may be silent within a request.
    :param timeout_server: seconds a server may take to answer.
    :param timeout_tunnel: seconds that both sides of an upgraded connection may be silent.
    :param haproxy_version: the proxy's version of HAProxy, see :attr:`ProxyStatus.version`.
    :raises BlueGreenError: if a value could mean anything else in a HAProxy configuration.
    """

    app: str
    servers: Mapping[Color, Sequence[Server]]
    health_path: str
    health_statuses: Sequence[int]
    public_host: str | None
    https: bool
    preview_host: str
    preview_key: str = field(repr=False)
    preview_allow: Sequence[IPv4Network | IPv6Network]
    trusted_proxies: Sequence[IPv4Network | IPv6Network]
    certificate: str | None
    balanced_from: IPv4Network | None
    ipv6: bool
    stats_user: str
    stats_password: str = field(repr=False)
    timeout_client: int
    timeout_server: int
    timeout_tunnel: int
    haproxy_version: tuple[int, int]

    def __post_init__(self) -> None:
        _require_fleet(self.fleet)
        self._require_names()
        self._require_secrets()
        self._require_networks()
        for status in self.health_statuses:
            _require_number("good status", status, STATUSES[0], STATUSES[-1])
        _require_number("client timeout", self.timeout_client, 1, LONGEST_SILENCE)
        _require_number("server timeout", self.timeout_server, 1, LONGEST_SILENCE)
        _require_number("tunnel timeout", self.timeout_tunnel, 1, LONGEST_TUNNEL)

    @property
    def fleet(self) -> dict[Color, list[Server]]:
        """The servers of both colors, sorted, so that the same fleet is always the same file."""
        return {color: sorted(self.servers.get(color, ())) for color in Color}

    def _require_names(self) -> None:
        _require("app", self.app, APP_ID)
        _require("health path", self.health_path, URL_PATH)
        _require("user of the statistics page", self.stats_user, STATS_USER)
        _require_host("preview host", self.preview_host, HOST_NAME)
        if self.public_host is not None:
            _require_host("public host", self.public_host, PUBLIC_HOST)
        if self.certificate is not None:
            _require("certificate", self.certificate, FILE_PATH)

    def _require_secrets(self) -> None:
        if not isinstance(self.stats_password, str) or not re.fullmatch(PRINTABLE, self.stats_password):
            raise BlueGreenError(
                "the password of the statistics page must have 1 to 128 printable ASCII characters, "
                "without blanks, quotes, backslashes, '#' and '$'"
            )
        if not isinstance(self.preview_key, str) or not re.fullmatch(PREVIEW_KEY, self.preview_key):
            raise BlueGreenError("the preview key cannot be used in a HAProxy configuration")

    def _require_networks(self) -> None:
        if self.balanced_from is not None and not isinstance(self.balanced_from, IPv4Network):
            raise BlueGreenError(
                f"network of the managed load balancer: {self.balanced_from!r} is not an IPv4 network"
            )
        for network in (*self.preview_allow, *self.trusted_proxies):
            if not isinstance(network, IPv4Network | IPv6Network):
                raise BlueGreenError(f"{network!r} is not a network")


def render_haproxy(values: ConfigValues) -> str:
    """Render ``haproxy.cfg``: both colors, whichever is live.

    :raises BlueGreenError: if the rendered file has other servers than the fleet.
    """
    # Every value was checked against a set of safe characters when ConfigValues was made.
    template = environment().get_template("haproxy.cfg.j2")
    text = template.render(
        {item.name: getattr(values, item.name) for item in fields(values)}
        | {
            "servers": values.fleet,
            "preview_key_header": PREVIEW_KEY_HEADER,
            "no_preview": NO_PREVIEW,
            "no_preview_status": NO_PREVIEW_STATUS,
            "longest_chain": LONGEST_CHAIN,
            "networks_a_line": NETWORKS_A_LINE,
            "own_headers": proxy_headers.own_patterns(),
            "framing_headers": proxy_headers.framing_patterns(),
            "forwarded_headers": proxy_headers.forwarded_patterns(),
            "misspelled_headers": proxy_headers.misspelled_patterns(),
            "monitor_port": MONITOR_PORT,
            "monitor_path": MONITOR_PATH,
            "idle_close_on_response": values.haproxy_version >= (2, 6),
            "drops_trailers": values.haproxy_version >= (3, 2),
        }
    )
    # `haproxy -c` accepts an empty backend and a line too many; the fleet is the authority.
    if rendered_servers(text) != {color: frozenset(members) for color, members in values.fleet.items()}:
        raise BlueGreenError(
            f"{values.app}: the rendered HAProxy configuration does not have the fleet's servers"
        )
    return text


def rendered_servers(config: str) -> dict[Color, frozenset[Server]]:
    """Read back which servers a configuration has in the backends of the two colors."""
    found: dict[Color, set[Server]] = {color: set() for color in Color}
    backends = {f"{color}_backend": color for color in Color}
    current: Color | None = None
    for line in config.splitlines():
        if line[:1].strip() and not line.startswith("#"):
            keyword, _, name = line.partition(" ")
            current = backends.get(name.strip()) if keyword == "backend" else None
        elif current and line.split()[:1] == ["server"]:
            match = _SERVER_LINE.match(line)
            if match is None:
                raise BlueGreenError(f"unexpected server line in a HAProxy configuration: {line.strip()!r}")
            numbers = int(match["port"]), int(match["maxconn"])
            found[current].add(Server(match["name"], IPv4Address(match["address"]), *numbers))
    return {color: frozenset(members) for color, members in found.items()}


def _require(what: str, value: object, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BlueGreenError(f"{what}: {value!r} cannot be used in a HAProxy configuration")


def _require_host(what: str, value: object, pattern: str) -> None:
    _require(what, value, rf"(?=.{{1,{LONGEST_HOST_NAME}}}\Z){pattern}")


def _require_number(what: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BlueGreenError(f"{what}: {value!r} is not a number from {low} to {high}")


def _require_fleet(fleet: Mapping[Color, Sequence[Server]]) -> None:
    for color, members in fleet.items():
        if not members:
            raise BlueGreenError(f"{color} has no servers; HAProxy would answer 503 for it")
        if len({server.name for server in members}) < len(members):
            raise BlueGreenError(f"{color} has two servers of the same name: {_names(members)}")
    everyone = [server for members in fleet.values() for server in members]
    if len({(server.address, server.port) for server in everyone}) < len(everyone):
        raise BlueGreenError(f"two servers have the same address: {_names(everyone)}")


def _names(servers: Iterable[Server]) -> str:
    return ", ".join(f"{server.name} {server.address}:{server.port}" for server in servers)
