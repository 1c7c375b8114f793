"""Reading a request for a load balancer, with complaints in DigitalOcean's form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sandbox.api.account import TAG, Account
from sandbox.api.catalog import REGIONS
from sandbox.api.edge_records import LoadBalancer
from sandbox.api.errors import invalid
from sandbox.api.records import Json
from sandbox.api.requests import field_of

NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.\-]{0,253}[a-zA-Z0-9.])?")
PATH = re.compile(r"/[A-Za-z0-9._~/?=&%-]{0,199}")
# Entry and target protocol, and whether TLS passes through.
PROTOCOLS = {("http", "http", False), ("tcp", "tcp", False), ("https", "https", True)}
DEFAULTS: Json = {
    "project_id": "",
    "size_unit": 1,
    "algorithm": "round_robin",
    "redirect_http_to_https": False,
    "enable_proxy_protocol": False,
    "enable_backend_keepalive": False,
    "http_idle_timeout_seconds": 60,
    "disable_lets_encrypt_dns_records": False,
    "network": "EXTERNAL",
    "network_stack": "IPV4",
    "type": "REGIONAL",
    "tls_cipher_policy": "DEFAULT",
}
# This sandbox has no other load balancers than those with these.
ONLY = ("redirect_http_to_https", "enable_backend_keepalive", "network", "network_stack", "type")
CHECK_DEFAULTS: Json = {
    "protocol": "http",
    "port": 80,
    "path": "/",
    "check_interval_seconds": 10,
    "response_timeout_seconds": 5,
    "unhealthy_threshold": 5,
    "healthy_threshold": 3,
}
CHECK_LIMITS = {
    "port": (1, 65535),
    "check_interval_seconds": (3, 300),
    "response_timeout_seconds": (3, 300),
    "unhealthy_threshold": (2, 10),
    "healthy_threshold": (2, 10),
}


def read(body: Json, account: Account) -> LoadBalancer:
    """Check a request's body against the account; what it leaves out gets its default.

    :raises ApiError: 422.
    """
    name = field_of(body, "name", str)
    if not NAME.fullmatch(name):
        raise invalid("name is invalid: letters, digits, dots and dashes are allowed, up to 255 characters")
    region = field_of(body, "region", str)
    if region not in REGIONS:
        raise invalid("region is invalid")
    tag = field_of(body, "tag", str, "")
    identifiers = field_of(body, "droplet_ids", list, [])
    if tag and identifiers:
        raise invalid("only one of tag or droplet_ids can be specified")
    if tag and not TAG.fullmatch(tag):
        raise invalid("tag is invalid")
    check_droplets(identifiers, region, account)
    vpc = account.vpcs.get(field_of(body, "vpc_uuid", str, account.default_vpc(region).id))
    if vpc is None or vpc.region != region:
        raise invalid("vpc_uuid is invalid")
    return LoadBalancer(
        name=name,
        region=region,
        vpc_uuid=vpc.id,
        settings={
            **_options(body),
            "forwarding_rules": rules_of(body),
            "health_check": _health_check(field_of(body, "health_check", dict, {})),
            "sticky_sessions": _stickiness(field_of(body, "sticky_sessions", dict, {})),
        },
        tag=account.add_tag(tag) if tag else "",
        droplet_ids=identifiers,
    )


def check_droplets(identifiers: Iterable[Any], region: str, account: Account) -> None:
    """Refuse droplets that a load balancer of this region cannot have."""
    for identifier in identifiers:
        droplet = account.droplets.get(identifier) if isinstance(identifier, int) else None
        if droplet is None or droplet.region != region:
            raise invalid(f"droplet {identifier} does not exist in the load balancer's region")


def rules_of(body: Json) -> list[Json]:
    """Return the forwarding rules of a body in their full form."""
    rules = [_rule(rule) for rule in field_of(body, "forwarding_rules", list, [])]
    if not rules:
        raise invalid("at least one forwarding rule is required")
    check_ports(rules)
    return rules


def check_ports(rules: list[Json]) -> None:
    """Refuse rules that want the same port."""
    if len({rule["entry_port"] for rule in rules}) < len(rules):
        raise invalid("forwarding rules must have unique entry ports")


def _rule(rule: Any) -> Json:
    if not isinstance(rule, dict):
        raise invalid("forwarding_rules is invalid")
    entry, target = field_of(rule, "entry_protocol", str), field_of(rule, "target_protocol", str)
    passes = field_of(rule, "tls_passthrough", bool, False)
    if (entry, target, passes) not in PROTOCOLS or rule.get("certificate_id"):
        raise invalid(
            f"forwarding from {entry} to {target}{' with' if passes else ' without'} tls_passthrough is not "
            "possible (in this sandbox)"
        )
    ports = {name: field_of(rule, name, int) for name in ("entry_port", "target_port")}
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise invalid(f"{name} must be between 1 and 65535")
    return {
        "entry_protocol": entry,
        "target_protocol": target,
        **ports,
        "certificate_id": "",
        "tls_passthrough": passes,
    }


def _health_check(check: Json) -> Json:
    found = {name: field_of(check, name, type(default), default) for name, default in CHECK_DEFAULTS.items()}
    if found["protocol"] not in ("http", "https", "tcp"):
        raise invalid("health_check protocol must be http, https or tcp")
    if not PATH.fullmatch(found["path"]):
        raise invalid("health_check path is invalid")
    for name, (low, high) in CHECK_LIMITS.items():
        if not low <= found[name] <= high:
            raise invalid(f"health_check {name} must be between {low} and {high}")
    return found


def _stickiness(sessions: Json) -> Json:
    if field_of(sessions, "type", str, "none") != "none":
        raise invalid("sticky_sessions type must be none (in this sandbox)")
    return {"type": "none"}


def _options(body: Json) -> Json:
    options = {name: field_of(body, name, type(default), default) for name, default in DEFAULTS.items()}
    for name in ONLY:
        if options[name] != DEFAULTS[name]:
            raise invalid(f"{name} must be {DEFAULTS[name]} (in this sandbox)")
    if not 30 <= options["http_idle_timeout_seconds"] <= 600:
        raise invalid("http_idle_timeout_seconds must be between 30 and 600")
    return options
