"""Who exists: the fleet of an app as a HAProxy configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.templates import environment
from bluegreen.traffic import proxy_headers
from bluegreen.traffic.preview_key import PREVIEW_KEY, PREVIEW_KEY_HEADER

SERVER_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?"
HOST_NAME = r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
PUBLIC_HOST = HOST_NAME + r"(:[0-9]{1,5})?"
# HAProxy's own quoting characters, comments, variables and blanks are left out of everything below.
URL_PATH = r"/[A-Za-z0-9._~/?=&%-]{0,199}"
FILE_PATH = r"/[A-Za-z0-9._/-]{1,199}"
STATS_USER = r"[A-Za-z0-9._-]{1,64}"
PRINTABLE = r"[A-Za-z0-9!%&()*+,./:;<=>?@\[\]^_`{|}~-]{1,128}"
# Where HAProxy says that it takes traffic, with GET; see haproxy.cfg.j2.
MONITOR_PORT, MONITOR_PATH = 8405, "/monitor"
# A CDN, its inner shield, a proxy of one's own: more trusted proxies than these are not looked through.
LONGEST_CHAIN = 5
# HAProxy reads 64 words and 2048 characters of a line; it finds an address among many in one look.
NETWORKS_A_LINE = 40
# What somebody is answered who asks for the preview host and may not see it; see haproxy.cfg.j2.
NO_PREVIEW_STATUS = 403
NO_PREVIEW = (
    f"This host shows a release that is not live. It needs the header {PREVIEW_KEY_HEADER}, "
    "or an address in traffic.preview_allow."
)
APP_ID = r"[a-z][a-z0-9_]{0,27}"

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
    :param maxconn: requests that it is given at a time, which is its number of workers.
    :raises BlueGreenError: if the name is not a droplet's name, or a number is out of range.
    """

    name: str
    address: IPv4Address
    port: int
    maxconn: int

    def __post_init__(self) -> None:
        _demand("server name", self.name, SERVER_NAME)
        if not isinstance(self.address, IPv4Address):
            raise BlueGreenError(f"server {self.name}: {self.address!r} is not an IPv4 address")
        _demand_number(f"port of server {self.name}", self.port, 1, 65535)
        _demand_number(f"connections of server {self.name}", self.maxconn, 1, 100_000)


def render_haproxy(
    *,
    app: str,
    servers: Mapping[Color, Sequence[Server]],
    health_path: str,
    stats_user: str,
    stats_password: str,
    health_statuses: Sequence[int] = (),
    public_host: str | None = None,
    https: bool = False,
    preview_host: str,
    preview_key: str,
    preview_allow: Sequence[IPv4Network | IPv6Network] = (),
    certificate: str | None = None,
    balanced_from: IPv4Network | None = None,
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    ipv6: bool = True,
    timeout_client: int = 50,
    timeout_server: int = 50,
    timeout_tunnel: int = 3600,
    haproxy_version: tuple[int, int] = (2, 6),
) -> str:
    """Render ``haproxy.cfg``: both colors, whichever is live. It does not say who is live.

    :param app: id of the app, for the file's heading.
    :param servers: the fleet; both colors need at least one server.
    :param health_path: what HAProxy asks each server for, with GET.
    :param health_statuses: what a healthy one answers; 200 to 299 if that is nothing.
    :param public_host: ``Host`` of that question, perhaps with a port; ``None`` for none, with HTTP/1.0.
    :param https: whether clients come by https, so that the question says so, too, as do requests with the
        preview key.
    :param stats_user: name for the statistics page.
    :param stats_password: password for the statistics page; never part of an error's text.
    :param preview_host: host name that always leads to the idle color, for those who may see that.
    :param preview_key: value of the header by which they show that they may; never part of an error's text.
    :param preview_allow: where they may come from without it.
    :param certificate: path of a PEM file on the proxy; adds port 443.
    :param balanced_from: where a managed load balancer in front of HAProxy comes from. Connections from there
        begin with the client's address in the PROXY protocol; all others are taken for clients.
    :param trusted_proxies: whose headers about their clients are believed.
    :param ipv6: whether the proxies' kernels know IPv6; without it, HAProxy could not start.
    :param timeout_client: seconds a client may be silent within a request.
    :param timeout_server: seconds a server may think about a request.
    :param timeout_tunnel: seconds that both sides of an upgraded connection may be silent.
    :param haproxy_version: of the proxy, see :attr:`ProxyStatus.version`.
    :raises BlueGreenError: if a value could mean anything else in a HAProxy configuration.
    """
    fleet = {color: sorted(servers.get(color, ())) for color in Color}
    _demand_fleet(fleet)
    _demand("app", app, APP_ID)
    _demand("health path", health_path, URL_PATH)
    _demand("user of the statistics page", stats_user, STATS_USER)
    if not isinstance(stats_password, str) or not re.fullmatch(PRINTABLE, stats_password):
        raise BlueGreenError(
            "the password of the statistics page must have 1 to 128 printable ASCII characters, "
            "without blanks, quotes, backslashes, '#' and '$'"
        )
    for status in health_statuses:
        _demand_number("good status", status, 200, 599)
    if public_host is not None:
        _demand("public host", public_host, PUBLIC_HOST)
    _demand("preview host", preview_host, HOST_NAME)
    if not isinstance(preview_key, str) or not re.fullmatch(PREVIEW_KEY, preview_key):
        raise BlueGreenError("the preview key cannot be used in a HAProxy configuration")
    if certificate is not None:
        _demand("certificate", certificate, FILE_PATH)
    if balanced_from is not None and not isinstance(balanced_from, IPv4Network):
        raise BlueGreenError(
            f"network of the managed load balancer: {balanced_from!r} is not an IPv4 network"
        )
    for network in (*preview_allow, *trusted_proxies):
        if not isinstance(network, IPv4Network | IPv6Network):
            raise BlueGreenError(f"{network!r} is not a network")
    _demand_number("client timeout", timeout_client, 1, 86_400)
    _demand_number("server timeout", timeout_server, 1, 86_400)
    _demand_number("tunnel timeout", timeout_tunnel, 1, 86_400)

    text = (
        # Every value is checked against a set of safe characters before it gets here.
        environment()
        .get_template("haproxy.cfg.j2")
        .render(
            app=app,
            servers=fleet,
            health_path=health_path,
            health_statuses=health_statuses,
            public_host=public_host,
            https=https,
            preview_host=preview_host,
            preview_key=preview_key,
            preview_key_header=PREVIEW_KEY_HEADER,
            preview_allow=preview_allow,
            no_preview=NO_PREVIEW,
            no_preview_status=NO_PREVIEW_STATUS,
            trusted_proxies=trusted_proxies,
            longest_chain=LONGEST_CHAIN,
            networks_a_line=NETWORKS_A_LINE,
            own_headers=proxy_headers.own_patterns(),
            framing_headers=proxy_headers.framing_patterns(),
            forwarded_headers=proxy_headers.forwarded_patterns(),
            misspelled_headers=proxy_headers.misspelled_patterns(),
            ipv6=ipv6,
            certificate=certificate,
            balanced_from=balanced_from,
            monitor_port=MONITOR_PORT,
            monitor_path=MONITOR_PATH,
            stats_user=stats_user,
            stats_password=stats_password,
            timeout_client=timeout_client,
            timeout_server=timeout_server,
            timeout_tunnel=timeout_tunnel,
            idle_close_on_response=haproxy_version >= (2, 6),
            drops_trailers=haproxy_version >= (3, 2),
        )
    )
    # `haproxy -c` accepts an empty backend and a line too many; the fleet is the authority.
    if rendered_servers(text) != {color: frozenset(members) for color, members in fleet.items()}:
        raise BlueGreenError(f"{app}: the rendered HAProxy configuration does not have the fleet's servers")
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


def _demand(what: str, value: object, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BlueGreenError(f"{what}: {value!r} cannot be used in a HAProxy configuration")


def _demand_number(what: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BlueGreenError(f"{what}: {value!r} is not a number from {low} to {high}")


def _demand_fleet(fleet: Mapping[Color, Sequence[Server]]) -> None:
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
