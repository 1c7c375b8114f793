"""Cloud Firewalls of an account, and how DigitalOcean shows them."""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass, field
from typing import Any

from sandbox.api.records import Droplet, Json, now

ALL_PORTS = "0"


@dataclass
class CloudFirewall:
    """A firewall. Droplets are behind it that have one of its tags, or are named.

    :param inbound: rules as the API has them, with ``sources``.
    :param outbound: likewise, with ``destinations``; without any, droplets reach nothing.
    :param status: ``waiting`` in the answer to a change, ``succeeded`` afterwards.
    """

    name: str
    inbound: list[Json]
    outbound: list[Json]
    tags: list[str]
    droplet_ids: list[int]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=now)

    def show(self, *, changed: bool = False) -> Json:
        """Return the API's form of it.

        :param changed: in the answer to the request that has changed it.
        """
        return {
            "id": self.id,
            "name": self.name,
            "status": "waiting" if changed else "succeeded",
            "created_at": self.created_at,
            "pending_changes": [],
            "inbound_rules": self.inbound,
            "outbound_rules": self.outbound,
            "tags": list(self.tags),
            "droplet_ids": list(self.droplet_ids),
        }

    def protects(self, droplet: Droplet) -> bool:
        """Whether a droplet is behind it."""
        return droplet.id in self.droplet_ids or any(tag in droplet.tags for tag in self.tags)


def read_rules(rules: Any, others: str) -> list[Json] | None:
    """Return the rules of a request; ``None`` if they are none.

    :param others: ``sources`` or ``destinations``.
    """
    if not isinstance(rules or [], list) or not all(_is_rule(one, others) for one in rules or []):
        return None
    return list(rules or [])


def _is_rule(rule: Any, others: str) -> bool:
    if not isinstance(rule, dict) or rule.get("protocol") not in ("tcp", "udp", "icmp"):
        return False
    ports, there = str(rule.get("ports") or ALL_PORTS), rule.get(others)
    if not all(part.isdecimal() and int(part) < 65536 for part in ports.split("-")) or ports.count("-") > 1:
        return False
    if not isinstance(there, dict) or not any(there.values()):
        return False
    try:
        for address in there.get("addresses") or []:
            ipaddress.ip_network(address)
    except ValueError:
        return False
    return True
