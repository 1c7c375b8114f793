"""Load balancers and reserved IPs of an account, and how DigitalOcean shows them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sandbox.api.catalog import REGIONS
from sandbox.api.edge import Balancing, HealthCheck, Rule
from sandbox.api.records import Droplet, Json, now


@dataclass
class LoadBalancer:
    """A managed load balancer.

    :param settings: the other settings of a request, with defaults filled in.
    :param tag: droplets that have it are its targets; if empty, ``droplet_ids`` are.
    """

    name: str
    region: str
    vpc_uuid: str
    settings: Json
    tag: str = ""
    droplet_ids: list[int] = field(default_factory=list)
    status: str = "new"
    ip: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=now)

    def show(self, targets: list[Droplet]) -> Json:
        """Return the API's form of it.

        :param targets: its droplets at this moment.
        """
        return {
            **self.settings,
            "id": self.id,
            "name": self.name,
            "ip": self.ip,
            "ipv6": "",
            "status": self.status,
            "created_at": self.created_at,
            "region": REGIONS[self.region],
            "vpc_uuid": self.vpc_uuid,
            "tag": self.tag,
            "droplet_ids": [droplet.id for droplet in targets],
        }

    def balancing(self) -> Balancing:
        """Return what its settings mean for whatever runs it."""
        check = self.settings["health_check"]
        return Balancing(
            rules=tuple(
                Rule(
                    "http" if rule["entry_protocol"] == "http" else "tcp",
                    rule["entry_port"],
                    rule["target_port"],
                )
                for rule in self.settings["forwarding_rules"]
            ),
            check=HealthCheck(
                protocol=check["protocol"],
                port=check["port"],
                path=check["path"],
                interval=check["check_interval_seconds"],
                timeout=check["response_timeout_seconds"],
                fall=check["unhealthy_threshold"],
                rise=check["healthy_threshold"],
            ),
            proxy_protocol=self.settings["enable_proxy_protocol"],
            idle_timeout=self.settings["http_idle_timeout_seconds"],
        )


@dataclass
class ReservedIp:
    """A public address that can be moved from one droplet to another.

    :param droplet: the id of the one that it leads to.
    :param locked: an action is going on.
    """

    ip: str
    region: str
    droplet: int | None = None
    locked: bool = False
    project_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def show(self, droplet: Droplet | None) -> Json:
        """Return the API's form of it.

        :param droplet: the one that it leads to, if that still exists.
        """
        return {
            "ip": self.ip,
            "droplet": droplet.show() if droplet else None,
            "region": REGIONS[self.region],
            "locked": self.locked,
            "project_id": self.project_id,
        }
