"""What an account holds, and how DigitalOcean shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.api.catalog import REGIONS

Json = dict[str, Any]
# So DigitalOcean writes that a private interface has none; the description wants a string.
NO_GATEWAY = "<nil>"


def now() -> str:
    """Return the present time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Key:
    """An SSH public key."""

    id: int
    name: str
    public_key: str
    fingerprint: str

    def show(self) -> Json:
        """Return the API's form of it."""
        return dict(vars(self))


@dataclass
class Vpc:
    """A private network."""

    id: str
    name: str
    region: str
    ip_range: str
    default: bool
    description: str = ""
    created_at: str = field(default_factory=now)

    def show(self) -> Json:
        """Return the API's form of it."""
        return {**vars(self), "urn": f"do:vpc:{self.id}"}


@dataclass
class Action:
    """Something that happens to a droplet or a reserved IP, and takes its time."""

    id: int
    type: str
    resource_id: int
    region: str
    status: str = "in-progress"
    started_at: str = field(default_factory=now)
    completed_at: str | None = None
    resource_type: str = "droplet"

    def show(self) -> Json:
        """Return the API's form of it."""
        return {
            **vars(self),
            "region": REGIONS[self.region],
            "region_slug": self.region,
        }

    def finish(self, *, succeeded: bool) -> None:
        """Record that it has ended."""
        self.status = "completed" if succeeded else "errored"
        self.completed_at = now()


@dataclass
class Droplet:
    """A droplet. Without addresses until its machine has been given them.

    :param phantom: exists in the API only; no machine answers at its addresses.
    :param hide_private: the API leaves its private address out.
    :param reserved_address: the reserved IP that leads to it, which the API shows as one more public address.
    """

    id: int
    name: str
    region: str
    size: Json
    image: Json
    vpc_uuid: str
    tags: list[str]
    status: str = "new"
    public_address: str | None = None
    private_address: str | None = None
    gateway: str = ""
    features: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=now)
    phantom: bool = False
    hide_private: bool = False
    reserved_address: str | None = None

    def show(self) -> Json:
        """Return the API's form of it."""
        return {
            "id": self.id,
            "name": self.name,
            "memory": self.size["memory"],
            "vcpus": self.size["vcpus"],
            "disk": self.size["disk"],
            "disk_info": [{"type": "local", "size": {"amount": self.size["disk"], "unit": "gib"}}],
            "locked": self.status == "new",
            "status": self.status,
            "kernel": None,
            "created_at": self.created_at,
            "features": [*self.features, "droplet_agent", "private_networking"],
            "backup_ids": [],
            "next_backup_window": None,
            "snapshot_ids": [],
            "image": self.image,
            "volume_ids": [],
            "size": self.size,
            "size_slug": self.size["slug"],
            "networks": {"v4": self._networks(), "v6": []},
            "region": REGIONS[self.region],
            "tags": list(self.tags),
            "vpc_uuid": self.vpc_uuid,
        }

    def _networks(self) -> list[Json]:
        networks = []
        if self.public_address:
            networks.append(_network(self.public_address, self.gateway, "public"))
        if self.private_address and not self.hide_private:
            networks.append(_network(self.private_address, NO_GATEWAY, "private"))
        if self.reserved_address:
            networks.append(_network(self.reserved_address, self.gateway, "public"))
        return networks


def _network(address: str, gateway: str, kind: str) -> Json:
    return {"ip_address": address, "netmask": "255.255.255.0", "gateway": gateway, "type": kind}
