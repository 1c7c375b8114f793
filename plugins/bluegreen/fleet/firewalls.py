"""Who may connect to an app's droplets: DigitalOcean's Cloud Firewalls, wanted and found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint
from bluegreen.traffic.haproxy_config import MONITOR_PORT

Json = dict[str, Any]

EVERYBODY = ("0.0.0.0/0", "::/0")
SSH_PORT, CLIENT_PORTS = 22, (80, 443)
# Every port that `server.port` can be: a server that is live keeps its port when that setting changes.
APP_PORTS = "1024-65535"
# How the API writes that all ports of a protocol are open, and the port of a protocol without ports.
ALL_PORTS = "0"
# Without such rules DigitalOcean drops what droplets send. Packages and the app's services are out there.
OUTBOUND: list[Json] = [
    {"protocol": protocol, "ports": ALL_PORTS, "destinations": {"addresses": list(EVERYBODY)}}
    for protocol in ("tcp", "udp", "icmp")
]
# Kinds of sources in the API, and how a source of each is called here.
_KINDS = {
    "addresses": "",
    "tags": "tag ",
    "droplet_ids": "droplet ",
    "load_balancer_uids": "load balancer ",
    "kubernetes_ids": "cluster ",
}


@dataclass(frozen=True, order=True)
class Opening:
    """One port, or range of ports, that is open to one source.

    :param kind: one of the API's kinds of sources, for example ``addresses``.
    :param source: an address range, a tag, or an id.
    """

    protocol: str
    ports: str
    kind: str
    source: str

    @classmethod
    def tcp(cls, port: int, kind: str, source: object) -> Opening:
        """Return an open TCP port."""
        return cls("tcp", str(port), kind, str(source))

    @property
    def is_for_everybody(self) -> bool:
        """Whether any client of the internet may connect."""
        return self.kind == "addresses" and self.source in EVERYBODY

    def has_tcp_port(self, port: int) -> bool:
        """Whether it is about a TCP port, among others."""
        first, _, last = self.ports.partition("-")
        if self.protocol != "tcp" or self.ports in (ALL_PORTS, "all"):
            return self.protocol == "tcp"
        return int(first) <= port <= int(last or first)

    def __str__(self) -> str:
        """Return it in words, for messages."""
        ports = f"{'ports' if '-' in self.ports else 'port'} {self.ports}"
        if self.ports in (ALL_PORTS, "all"):
            ports = "all ports"
        source = "everybody" if self.is_for_everybody else f"{_KINDS.get(self.kind, '')}{self.source}"
        return f"{self.protocol} {ports} from {source}"


@dataclass(frozen=True)
class Firewall:
    """A firewall of an app, as the settings want it.

    :param tag: the droplets that it protects; nothing else carries it.
    """

    name: str
    tag: str
    openings: frozenset[Opening]

    def request(self, existing: Json | None = None) -> Json:
        """Return the body of ``POST /v2/firewalls``, or of ``PUT`` for one that exists.

        Droplets that a person has put behind the existing firewall stay there.
        """
        grouped: dict[tuple[str, str], dict[str, list[str]]] = {}
        for opening in sorted(self.openings):
            sources = grouped.setdefault((opening.protocol, opening.ports), {})
            sources.setdefault(opening.kind, []).append(opening.source)
        return {
            "name": self.name,
            "inbound_rules": [
                {"protocol": protocol, "ports": ports, "sources": sources}
                for (protocol, ports), sources in grouped.items()
            ],
            "outbound_rules": OUTBOUND,
            "tags": sorted({self.tag, *((existing or {}).get("tags") or [])}),
            "droplet_ids": (existing or {}).get("droplet_ids") or [],
        }


def wanted_firewalls(app: App, balancer: str | None = None) -> tuple[Firewall, Firewall]:
    """Return the firewalls of the proxies and of the app droplets.

    :param balancer: the id of the app's managed load balancer, if there is one.
    """
    tags, prefix = app.fleet.tags, f"bluegreen-{app.id.replace('_', '-')}"
    airflow = [str(one) for one in app.fleet.ssh_from] or list(EVERYBODY)
    ssh = {Opening.tcp(SSH_PORT, "addresses", one) for one in airflow}
    proxies = Firewall(
        f"{prefix}-proxies", tags.own_proxies, frozenset(ssh | _of_clients(app, airflow, balancer))
    )
    servers = {*ssh, Opening("tcp", APP_PORTS, "tags", tags.own_proxies)}
    return proxies, Firewall(f"{prefix}-servers", tags.own_servers, frozenset(servers))


def _of_clients(app: App, airflow: Sequence[str], balancer: str | None) -> set[Opening]:
    if app.fleet.entry_point is not EntryPoint.MANAGED_LOAD_BALANCER:
        return {Opening.tcp(port, "addresses", one) for port in CLIENT_PORTS for one in EVERYBODY}
    # Airflow asks each proxy as a client would, and so do the other proxies after a lost confirmation.
    found = {Opening.tcp(port, "addresses", one) for port in CLIENT_PORTS for one in airflow}
    found |= {Opening.tcp(port, "tags", app.fleet.tags.own_proxies) for port in CLIENT_PORTS}
    if balancer is not None:
        found |= {Opening.tcp(port, "load_balancer_uids", balancer) for port in (*CLIENT_PORTS, MONITOR_PORT)}
    return found


def openings_of(firewall: Mapping[str, Any]) -> frozenset[Opening]:
    """Return what a firewall of the API lets in.

    :raises ValueError: (or another built-in error) if it is not as the API describes it.
    """
    return frozenset(
        Opening(str(rule["protocol"]), str(rule.get("ports") or ALL_PORTS), kind, _source(kind, source))
        for rule in firewall.get("inbound_rules") or []
        for kind in _KINDS
        for source in rule["sources"].get(kind) or []
    )


def _source(kind: str, source: object) -> str:
    # A single address comes back as it was written, with or without its length; case in tags is ignored.
    if kind == "addresses":
        return str(ip_network(str(source), strict=False))
    return str(source).casefold() if kind == "tags" else str(source)


def _is_for(firewall: Mapping[str, Any], tag: str) -> bool:
    return tag.casefold() in {str(one).casefold() for one in firewall.get("tags") or []}


def choose_firewall(wanted: Firewall, existing: Iterable[Json]) -> Json | None:
    """Return the app's existing firewall, which is known by its name.

    :param existing: all firewalls of the account.
    :raises FleetError: if there are several, or one that protects something else.
    """
    found = [one for one in existing if one.get("name") == wanted.name]
    if len(found) > 1:
        raise FleetError(f"{len(found)} firewalls are named {wanted.name}; delete all but one")
    if found and (tags := found[0].get("tags")) and not _is_for(found[0], wanted.tag):
        raise FleetError(
            f"firewall {wanted.name} is for the tag {', '.join(tags)} instead of {wanted.tag}; rename it "
            "if it is not this app's, or correct its tag"
        )
    return found[0] if found else None


def is_as_wanted(wanted: Firewall, existing: Json) -> bool:
    """Whether a firewall lets in exactly what it should, and everything out."""
    return (
        openings_of(existing) == _normal(wanted)
        and _is_for(existing, wanted.tag)
        and lets_everything_out(existing)
    )


def _normal(wanted: Firewall) -> frozenset[Opening]:
    return openings_of(wanted.request())


def lets_everything_out(existing: Mapping[str, Any]) -> bool:
    """Whether droplets behind a firewall may connect to anything."""
    out = {
        (rule.get("protocol"), address)
        for rule in existing.get("outbound_rules") or []
        if str(rule.get("ports") or ALL_PORTS) in (ALL_PORTS, "all", "1-65535")
        for address in (rule.get("destinations") or {}).get("addresses") or []
    }
    return {(rule["protocol"], one) for rule in OUTBOUND for one in EVERYBODY} <= out


def differences(wanted: Firewall, existing: Json | None) -> list[str]:
    """Describe what is not as the settings want it, a line each."""
    if existing is None:
        return ["it is not there, so every port is open to everybody"]
    there, ours = openings_of(existing), _normal(wanted)
    found = [f"it does not let in {one}" for one in sorted(ours - there)]
    found += [f"it lets in {one}, which the settings do not want" for one in sorted(there - ours)]
    if not _is_for(existing, wanted.tag):
        found.append(f"it does not apply to the tag {wanted.tag}")
    if not lets_everything_out(existing):
        found.append("it keeps the droplets from connecting to the outside")
    return found


def opened_by(others: Iterable[Json], wanted: Firewall) -> list[tuple[str, str]]:
    """Return what other firewalls of the same droplets let in, which adds up: their names and a line each.

    Only what is open to everybody counts: a port for a monitoring system of somebody's is that person's.
    """
    public = {(one.protocol, one.ports) for one in wanted.openings if one.is_for_everybody}
    found = {
        (str(other.get("name")), f"it opens {opening.protocol} {opening.ports} of this app to everybody")
        for other in others
        for opening in openings_of(other)
        if opening.is_for_everybody and (opening.protocol, opening.ports) not in public
    }
    return sorted(found)


def applying_to(droplets: Iterable[Droplet], firewalls: Iterable[Json]) -> list[Json]:
    """Return the firewalls that protect any of these droplets, by tag or by id."""
    members = list(droplets)
    return [
        one
        for one in firewalls
        if any(
            droplet.id in (one.get("droplet_ids") or [])
            or any(droplet.has_tag(tag) for tag in one.get("tags") or [])
            for droplet in members
        )
    ]


def untagged(fleet: Fleet, app: App) -> dict[str, list[Droplet]]:
    """Return the droplets that lack the tag by which their firewall finds them, by that tag."""
    tags = app.fleet.tags
    roles = {tags.own_proxies: fleet.proxies, tags.own_servers: fleet.blue + fleet.green}
    return {tag: [one for one in members if not one.has_tag(tag)] for tag, members in roles.items()}
