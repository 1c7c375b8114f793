"""What clients connect to, as the settings want it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, TypeVar

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.entry_point import (
    ENTRY_POINT_NAMES,
    ReservedIp,
    balancer_request,
    balancer_update,
    choose_balancer,
    choose_reserved_ip,
    reserved_ip_tag,
)
from bluegreen.hooks.firewalls import FirewallsHook
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.polling import Deadline, poll
from bluegreen.settings.fleet import EntryPoint

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
Found = TypeVar("Found")
POLL_SECONDS = 2.0
CONNECT_SECONDS = 2.0


class EntryPointOperator(BlueGreenOperator):
    """Create what stands in front of the proxies, or adopt it; lead it to those that are there."""

    def act(self, run: ThisRun) -> dict[str, str]:
        """Return ``kind`` and ``address`` of what clients connect to.

        :raises FleetError: if what exists contradicts the settings; nothing was created then.
        :raises DigitalOceanError: if the API refuses.
        :raises BlueGreenError: if it is not ready within ``timeouts.boot``.
        """
        self._deadline = Deadline()
        self._hook = FirewallsHook(self.app.connections.digitalocean)
        kind = self.app.fleet.entry_point
        if kind is EntryPoint.MANAGED_LOAD_BALANCER:
            address = self._managed_load_balancer()
        elif kind is EntryPoint.RESERVED_IP:
            address = self._reserved_ip()
        else:
            address = ", ".join(str(one.public) for one in self._active())
        self.log.info("clients find the app at %s, %s", address, ENTRY_POINT_NAMES[kind])
        return {"kind": kind.value, "address": address}

    def _managed_load_balancer(self) -> str:
        app, hook = self.app, self._hook
        fleet = self.read_fleet()
        vpc_uuid = hook.vpc_for(app, fleet.droplets).id
        existing = choose_balancer(app, hook.load_balancers(), vpc_uuid)
        wanted = balancer_request(app, vpc_uuid)
        self._tag(fleet)
        if existing is None:
            existing = hook.create_load_balancer(wanted)
            self.log.info("load balancer %s: created", wanted["name"])
        elif update := balancer_update(existing, wanted):
            existing = hook.update_load_balancer(existing["id"], update)
            self.log.info("load balancer %s: changed", update["name"])
        else:
            self.log.info("load balancer %s: exists", existing["name"])
        if app.fleet.firewalls:
            # A firewall can name a load balancer only once there is one.
            for line in hook.put_up(app):
                self.log.info("%s", line)
        return self._address_of(existing["id"])

    def _tag(self, fleet: Fleet) -> None:
        """Give all proxies, and nothing else, the tag that is balanced."""
        tag = self.app.fleet.tags.balanced
        mine = {droplet.id for droplet in fleet.proxies}
        if strangers := [one.name for one in self._hook.droplets(tag) if one.id not in mine]:
            raise FleetError(
                f"{', '.join(sorted(strangers))} would get this app's traffic: the tag {tag} is for its load "
                "balancers only; remove it there"
            )
        self._hook.tag_droplets(tag, [one for one in fleet.proxies if tag not in one.tags])

    def _address_of(self, identifier: str) -> str:
        def ready() -> str | None:
            shown = self._hook.load_balancer(identifier)
            if shown.get("status") == "errored":
                raise FleetError(
                    f"DigitalOcean could not make load balancer {shown.get('name')}; delete it, and "
                    "provision again"
                )
            try:
                address = str(IPv4Address(shown.get("ip")))
            except AddressValueError:
                return None
            return address if shown.get("status") == "active" else None

        return self._wait(ready, "the managed load balancer is not active, or has no address")

    def _reserved_ip(self) -> str:
        fleet = self.read_fleet()
        active = self._active()
        reserved = choose_reserved_ip(fleet, self._wait(self._settled, "a reserved IP is being assigned"))
        target = self._best(active, reserved.droplet if reserved else None)
        if reserved is None:
            reserved = self._hook.reserve_ip(target)
            self.log.info("reserved IP %s: created for %s", reserved.address, target.name)
        elif target.id != reserved.droplet:
            self._hook.assign_ip(reserved.address, target)
            self.log.info("reserved IP %s: moves to %s", reserved.address, target.name)
        else:
            self.log.info("reserved IP %s: stays at %s", reserved.address, target.name)
        address, tag = reserved.address, reserved_ip_tag(reserved.address)
        self._hook.tag_droplets(tag, [one for one in fleet.droplets if tag not in one.tags])

        def assigned() -> str | None:
            holders = {one.address: one.droplet for one in self._hook.reserved_ips()}
            return str(address) if holders.get(address) == target.id else None

        return self._wait(assigned, f"reserved IP {address} is not assigned to {target.name}")

    def _settled(self) -> list[ReservedIp] | None:
        """Return the account's reserved IPs, unless one is on its way and may be this app's."""
        found = self._hook.reserved_ips()
        return None if any(one.locked for one in found) else found

    def _best(self, active: list[Droplet], holder: int | None = None) -> Droplet:
        """Choose a proxy that takes traffic: the one that has the address, or the first by name.

        Before the first deploy none does; then any that is active will do.
        """
        candidates = sorted(active, key=lambda one: (one.id != holder, one.name))
        return next((one for one in candidates if self._answers(one)), candidates[0])

    def _answers(self, droplet: Droplet) -> bool:
        try:
            with socket.create_connection((str(droplet.public), 80), CONNECT_SECONDS):
                return True
        except OSError as error:
            self.log.info("%s takes no traffic: %s", droplet.label, error)
            return False

    def _active(self) -> list[Droplet]:
        """Return the proxies that have power and an address, as soon as there are any."""

        def active() -> list[Droplet] | None:
            members = self.read_fleet().proxies
            return [one for one in members if one.status == "active" and one.public is not None] or None

        return self._wait(active, "no proxy is active")

    def _wait(self, look: Callable[[], Found | None], missing: str) -> Found:
        return poll(
            look,
            missing=missing,
            every=POLL_SECONDS,
            deadline=self._deadline,
            seconds=self.app.timeouts.boot,
            report=lambda error: self.log.info("not yet: %s", error),
        )
