"""HAProxy's configuration: who exists in the fleet of an app."""

from __future__ import annotations

import hashlib
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
    SERVER_NAME,
    URL_PATH,
)
from bluegreen.settings.tls import LONGEST_HSTS, MOST_CERTIFICATES
from bluegreen.settings.traffic import LONGEST_TUNNEL
from bluegreen.settings.validation import STATUSES
from bluegreen.templates import environment
from bluegreen.traffic import proxy_headers
from bluegreen.traffic.preview_key import PREVIEW_KEY_HEADER

# A SHA-256 in base64url, see RFC 8555, 8.1.
ACME_THUMBPRINT = r"[A-Za-z0-9_-]{43}"
# Mozilla's intermediate profile (https://ssl-config.mozilla.org/guidelines/5.7.json), without its suites of
# finite fields (DHE): only clients without elliptic curves use them, and they need a parameter file.
TLS_12_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
TLS_13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
TLS_CURVES = ("X25519", "prime256v1", "secp384r1")
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
# The cookies by which a client stays on a droplet, see traffic.affinity.
AFFINITY_COOKIES = {color: f"bluegreen_{color}_droplet" for color in Color}
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
    :param preview_host: host name that always leads to the idle color, for clients who may see it.
    :param preview_key: value of the header that lets a client see it; never part of an error's text.
    :param preview_allow: networks from which no key is needed.
    :param certificates: paths of PEM files, or of directories of them, on the proxy; they add port 443.
    :param acme_thumbprint: digest of the account key with which a certificate authority is asked; with it,
        HAProxy answers the authority's challenges.
    :param redirect: whether clients are sent to https, if there is a certificate.
    :param hsts: seconds for which browsers are to come by https only, if there is a certificate; 0: unsaid.
    :param balanced_from: network of a managed load balancer in front of HAProxy. Its connections begin with
        the client's address in the PROXY protocol; all other connections are clients'.
    :param trusted_proxies: networks whose headers about their clients are believed.
    :param ipv6: whether the proxies' kernels support IPv6; if not, HAProxy would not start with it.
    :param affinity: whether a cookie keeps a client on one droplet of a color.
    :param timeouts: seconds by what HAProxy calls its timeouts, see :attr:`TrafficSettings.timeouts`.
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
    certificates: Sequence[str]
    acme_thumbprint: str | None
    redirect: bool
    hsts: int
    balanced_from: IPv4Network | None
    ipv6: bool
    affinity: bool
    timeouts: Mapping[str, int]
    haproxy_version: tuple[int, int]

    def __post_init__(self) -> None:
        _require_fleet(self.fleet)
        self._require_names()
        self._require_preview_key()
        self._require_networks()
        for status in self.health_statuses:
            _require_number("good status", status, STATUSES[0], STATUSES[-1])
        for name, seconds in self.timeouts.items():
            _require_number(f"{name} timeout", seconds, 1, LONGEST_TUNNEL)
        _require_number("certificates", len(self.certificates), 0, MOST_CERTIFICATES)
        _require_number("seconds of HSTS", self.hsts, 0, LONGEST_HSTS)

    @property
    def fleet(self) -> dict[Color, list[Server]]:
        """The servers of both colors, sorted, so that the same fleet is always the same file."""
        return {color: sorted(self.servers.get(color, ())) for color in Color}

    def _require_names(self) -> None:
        _require("app", self.app, APP_ID)
        _require("health path", self.health_path, URL_PATH)
        _require_host("preview host", self.preview_host, HOST_NAME)
        if self.public_host is not None:
            _require_host("public host", self.public_host, PUBLIC_HOST)
        for path in self.certificates:
            _require("certificate", path, FILE_PATH)
        if self.acme_thumbprint is not None:
            _require("thumbprint of the ACME account", self.acme_thumbprint, ACME_THUMBPRINT)

    def _require_preview_key(self) -> None:
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
            "affinity_key": _affinity_key(values) if values.affinity else None,
            "affinity_cookies": AFFINITY_COOKIES,
            "tls_12_ciphers": TLS_12_CIPHERS,
            "tls_13_ciphers": TLS_13_CIPHERS,
            "tls_curves": TLS_CURVES,
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


def _affinity_key(values: ConfigValues) -> str:
    """Return what HAProxy hashes together with a server's address into the value of a client's cookie.

    All proxies have the same one, and it stays the same for as long as the preview key does. HAProxy's hash
    (XXH64) can be inverted, so the preview key itself is not used.
    """
    return hashlib.sha256(f"affinity {values.app} {values.preview_key}".encode()).hexdigest()


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
