"""What clients connect to: a managed load balancer or a reserved IP in front of an app's proxies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint
from bluegreen.traffic.haproxy_config import MONITOR_PATH, MONITOR_PORT

Json = dict[str, Any]

# A dead HAProxy is taken out after six seconds and the time of one attempt to connect.
HEALTH_CHECK: Json = {
    "protocol": "http",
    "port": MONITOR_PORT,
    "path": MONITOR_PATH,
    "check_interval_seconds": 3,
    "response_timeout_seconds": 3,
    "unhealthy_threshold": 2,
    "healthy_threshold": 2,
}
# An update resets fields that it leaves out, but fields that people have set by hand should stay.
KEPT_SETTINGS = (
    "project_id",
    "size_unit",
    "sticky_sessions",
    "redirect_http_to_https",
    "enable_backend_keepalive",
    "http_idle_timeout_seconds",
    "disable_lets_encrypt_dns_records",
    "firewall",
    "network",
    "network_stack",
    "type",
    "domains",
    "tls_cipher_policy",
)
RESERVED_IP_TAG = "reserved-ip:"
ENTRY_POINT_NAMES = {
    EntryPoint.DROPLET: "the load balancer's droplet",
    EntryPoint.RESERVED_IP: "a reserved IP",
    EntryPoint.MANAGED_LOAD_BALANCER: "a managed load balancer",
}


@dataclass(frozen=True)
class ReservedIp:
    """A reserved IP of the account.

    :param droplet: the id of the droplet that it leads to.
    :param locked: whether it is being assigned, so that ``droplet`` is about to change.
    """

    address: IPv4Address
    droplet: int | None
    locked: bool

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> ReservedIp:
        """Read one element of ``reserved_ips`` in an answer of DigitalOcean's API."""
        return cls(IPv4Address(data["ip"]), (data.get("droplet") or {}).get("id"), bool(data.get("locked")))


def balancer_name(app: App) -> str:
    """Return the name of an app's managed load balancer; DigitalOcean refuses underscores there."""
    return app.id.replace("_", "-")


def balancer_request(app: App, vpc_uuid: str) -> Json:
    """Return the body of ``POST /v2/load_balancers``."""
    rules = [("http", 80, False)]
    if app.traffic.tls:
        # HAProxy has the certificates, so TLS passes through.
        rules.append(("https", 443, True))
    return {
        "name": balancer_name(app),
        "region": app.fleet.region,
        "vpc_uuid": vpc_uuid,
        "tag": app.fleet.tags.balanced,
        "forwarding_rules": [
            {
                "entry_protocol": protocol,
                "entry_port": port,
                "target_protocol": protocol,
                "target_port": port,
                "tls_passthrough": passthrough,
            }
            for protocol, port, passthrough in rules
        ],
        "health_check": HEALTH_CHECK,
        # The PROXY protocol states the client's address, which no client can fake, even through TLS.
        "enable_proxy_protocol": True,
    }


def choose_balancer(app: App, existing: Sequence[Json], vpc_uuid: str) -> Json | None:
    """Return the app's existing managed load balancer, if there is one.

    :param existing: all load balancers of the account.
    :raises FleetError: if there are several, or one that cannot be this app's.
    """
    name, tag = balancer_name(app), app.fleet.tags.balanced
    found = [one for one in existing if one.get("tag") == tag]
    if len(found) > 1:
        names = ", ".join(sorted(f"{one.get('name')} ({one.get('ip') or one.get('id')})" for one in found))
        raise FleetError(f"several load balancers balance the tag {tag}: {names}; delete all but one")
    if not found:
        if any(one.get("name") == name for one in existing):
            raise FleetError(
                f"no load balancer was created: there is one named {name} that does not balance the tag "
                f"{tag}; give it that tag if it is this app's, or rename it"
            )
        return None
    region = (found[0].get("region") or {}).get("slug")
    if region != app.fleet.region or found[0].get("vpc_uuid") != vpc_uuid:
        raise FleetError(
            f"load balancer {found[0].get('name')} is in region {region} and VPC {found[0].get('vpc_uuid')}, "
            f"the droplets are in {app.fleet.region} and {vpc_uuid}; delete it, and provision again"
        )
    return found[0]


def balancer_update(existing: Json, wanted: Json) -> Json | None:
    """Return the body of a ``PUT`` that corrects a load balancer; ``None`` if nothing has to change.

    Rules for other ports, and everything else that was set by hand, stay.
    """
    rules = list(existing.get("forwarding_rules") or [])
    ports = {rule.get("entry_port") for rule in rules}
    missing = [rule for rule in wanted["forwarding_rules"] if rule["entry_port"] not in ports]
    check = existing.get("health_check") or {}
    checks_as_wanted = all(check.get(key) == value for key, value in wanted["health_check"].items())
    if not missing and checks_as_wanted and existing.get("enable_proxy_protocol") is True:
        return None
    kept = {key: existing[key] for key in KEPT_SETTINGS if existing.get(key) is not None}
    return {**kept, **wanted, "name": existing["name"], "forwarding_rules": rules + missing}


def closed_ports(app: App, balancers: Iterable[Json]) -> tuple[int, ...]:
    """Return the ports that clients need and the app's managed load balancer has no rule for.

    :param balancers: all load balancers of the account.
    """
    mine = next((one for one in balancers if one.get("tag") == app.fleet.tags.balanced), None)
    if mine is None:
        return ()
    passed_on = {rule.get("entry_port") for rule in mine.get("forwarding_rules") or []}
    needed = (rule["entry_port"] for rule in balancer_request(app, "")["forwarding_rules"])
    return tuple(port for port in needed if port not in passed_on)


def reserved_ip_tag(address: IPv4Address) -> str:
    """Return the tag that records an app's reserved IP on its droplets; a reserved IP cannot have tags."""
    return f"{RESERVED_IP_TAG}{str(address).replace('.', '-')}"


def recorded_addresses(droplets: Iterable[Droplet]) -> set[IPv4Address]:
    """Return the reserved IPs that the droplets' tags record.

    :raises FleetError: if such a tag is not an address.
    """
    found = set()
    for tag in {tag for droplet in droplets for tag in droplet.tags if tag.startswith(RESERVED_IP_TAG)}:
        try:
            found.add(IPv4Address(tag.removeprefix(RESERVED_IP_TAG).replace("-", ".")))
        except AddressValueError:
            raise FleetError(f"the tag {tag} is not {RESERVED_IP_TAG} and an address; remove it") from None
    return found


def choose_reserved_ip(fleet: Fleet, existing: Iterable[ReservedIp]) -> ReservedIp | None:
    """Return the app's existing reserved IP: recorded by its droplets' tags, or assigned to one of them.

    :param existing: all reserved IPs of the account.
    :raises FleetError: if there are several, or if it was released or assigned elsewhere.
    """
    mine = {droplet.id for droplet in fleet.droplets}
    by_address = {one.address: one for one in existing}
    addresses = recorded_addresses(fleet.droplets)
    addresses |= {one.address for one in by_address.values() if one.droplet in mine}
    if len(addresses) > 1:
        several = ", ".join(map(str, sorted(addresses)))
        raise FleetError(
            f"the app has several reserved IPs: {several}; release all but one, and remove its tag "
            f"{RESERVED_IP_TAG}…"
        )
    for address in addresses:
        reserved = by_address.get(address)
        if reserved is None:
            raise FleetError(
                f"reserved IP {address} is not in the account any more; remove the tag "
                f"{reserved_ip_tag(address)} to get another one"
            )
        if reserved.droplet is not None and reserved.droplet not in mine:
            raise FleetError(
                f"reserved IP {address} is assigned to droplet {reserved.droplet}, which is not this app's; "
                f"unassign it, or remove the tag {reserved_ip_tag(address)} to get another one"
            )
        return reserved
    return None
