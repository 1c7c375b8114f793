"""DigitalOcean's API for what stands in front of an app's proxies: load balancers and reserved IPs."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.entry_point import ReservedIp
from bluegreen.hooks.digitalocean import described
from bluegreen.hooks.vpc import VpcHook

Json = dict[str, Any]


class EntryPointHook(VpcHook):
    """Managed load balancers, reserved IPs, networks and tags of one DigitalOcean account."""

    def load_balancers(self) -> list[Json]:
        """Return every managed load balancer of the account."""
        items = self._list("load_balancers", self.client.load_balancers.list)
        return [self._balancer({"load_balancer": one}) for one in items]

    def load_balancer(self, identifier: str) -> Json:
        """Return one managed load balancer."""
        answer = self._call("show the load balancer", self.client.load_balancers.get, lb_id=identifier)
        return self._balancer(answer)

    def create_load_balancer(self, request: Json) -> Json:
        """Create a managed load balancer; it is returned before it is ready.

        :raises DigitalOceanError: after a transient error it may exist: list before trying again.
        """
        what = f"create load balancer {request['name']}"
        return self._balancer(self._call(what, self.client.load_balancers.create, body=request))

    def update_load_balancer(self, identifier: str, request: Json) -> Json:
        """Change a managed load balancer; DigitalOcean resets what the request leaves out."""
        what = f"change load balancer {request['name']}"
        answer = self._call(what, self.client.load_balancers.update, lb_id=identifier, body=request)
        return self._balancer(answer)

    def reserved_ips(self) -> list[ReservedIp]:
        """Return every reserved IP of the account."""
        items = list(self._list("reserved_ips", self.client.reserved_ips.list))
        with described("reserved_ips"):
            return [ReservedIp.from_api(one) for one in items]

    def reserve_ip(self, droplet: Droplet) -> ReservedIp:
        """Reserve an IP, and start to assign it to a droplet.

        :raises DigitalOceanError: after a transient error the IP may be reserved: list before trying again.
        """
        what = f"reserve an IP for {droplet.name}"
        answer = self._call(what, self.client.reserved_ips.create, body={"droplet_id": droplet.id})
        with described("reserved_ip"):
            return ReservedIp.from_api(self._member(answer, "reserved_ip", dict))

    def assign_ip(self, address: IPv4Address, droplet: Droplet) -> None:
        """Start to move a reserved IP to a droplet."""
        self._call(
            f"assign {address} to {droplet.name}",
            self.client.reserved_ips_actions.post,
            reserved_ip=str(address),
            body={"type": "assign", "droplet_id": droplet.id},
        )

    def tag_droplets(self, tag: str, droplets: Iterable[Droplet]) -> None:
        """Tag droplets; the tag is created if it does not exist."""
        resources = [{"resource_id": str(one.id), "resource_type": "droplet"} for one in droplets]
        if not resources:
            return
        if tag not in {one.get("name") for one in self._list("tags", self.client.tags.list)}:
            self._call(f"create tag {tag}", self.client.tags.create, body={"name": tag})
        self._call(
            f"tag droplets with {tag}",
            self.client.tags.assign_resources,
            tag_id=tag,
            body={"resources": resources},
        )

    def _balancer(self, answer: Any) -> Json:
        balancer: Json = self._member(answer, "load_balancer", dict)
        for key in ("id", "name"):
            self._member(balancer, key, str)
        optional: dict[str, type] = {"region": dict, "health_check": dict, "forwarding_rules": list}
        for key, kind in optional.items():
            if balancer.get(key) is not None:
                self._member(balancer, key, kind)
        for rule in balancer.get("forwarding_rules") or []:
            self._member({"forwarding_rules": rule}, "forwarding_rules", dict)
        return balancer
