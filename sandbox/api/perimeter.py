"""Keeps what machines let through in step with the account's firewalls."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Iterator

from sandbox.api.account import Account
from sandbox.api.firewall_records import ALL_PORTS, CloudFirewall
from sandbox.api.hypervisor import Filter, Hypervisor, Let
from sandbox.api.records import Droplet, Json
from sandbox.errors import SandboxError

log = logging.getLogger(__name__)


class Perimeter:
    """Compares what each machine should let through with what it was told last.

    :param account: the records.
    :param hypervisor: the machines.
    """

    def __init__(self, account: Account, hypervisor: Hypervisor) -> None:
        self.account = account
        self.hypervisor = hypervisor
        self._told: dict[int, Filter | None] = {}
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Tell the machines whose rules have changed; droplets without an address have no machine to tell."""
        async with self._lock:
            droplets = {
                one.id: one
                for one in self.account.droplets.values()
                if one.public_address and not one.phantom
            }
            self._told = {droplet: told for droplet, told in self._told.items() if droplet in droplets}
            for droplet in droplets.values():
                wanted = filter_of(self.account, droplet)
                if self._told.get(droplet.id) == wanted:
                    continue
                try:
                    await asyncio.to_thread(self.hypervisor.filter, droplet.id, wanted)
                except SandboxError as error:
                    log.error("firewall of droplet %s: %s", droplet.name, error)
                else:
                    self._told[droplet.id] = wanted


def protecting(account: Account, droplet: Droplet) -> list[CloudFirewall]:
    """Return the firewalls that a droplet is behind."""
    return [one for one in account.firewalls.values() if one.protects(droplet)]


def filter_of(account: Account, droplet: Droplet) -> Filter | None:
    """Return what a droplet's firewalls let through together, and its VPC; ``None`` if everything passes."""
    firewalls, dropped = protecting(account, droplet), tuple(sorted(_from_other_networks(account, droplet)))
    if not firewalls:
        return Filter(None, None, dropped) if dropped else None

    return Filter(
        inbound=tuple(_let(account, rule, rule["sources"]) for wall in firewalls for rule in wall.inbound),
        outbound=tuple(
            _let(account, rule, rule["destinations"]) for wall in firewalls for rule in wall.outbound
        ),
        dropped=dropped,
    )


def _from_other_networks(account: Account, droplet: Droplet) -> Iterator[tuple[str, str]]:
    """Return the ways from droplets of other VPCs to a private address; all VPCs share one range here."""
    if droplet.private_address is None:
        return
    for one in account.droplets.values():
        if one.vpc_uuid != droplet.vpc_uuid and not one.phantom:
            for address in _addresses([one]):
                yield address, droplet.private_address
            if one.private_address and droplet.public_address:
                yield one.private_address, droplet.public_address


def _let(account: Account, rule: Json, others: Json) -> Let:
    addresses = [str(ipaddress.ip_network(one)) for one in others.get("addresses") or [] if ":" not in one]
    droplets = [
        droplet
        for droplet in account.droplets.values()
        if droplet.id in (others.get("droplet_ids") or [])
        or any(tag in droplet.tags for tag in others.get("tags") or [])
    ]
    addresses += _addresses(droplets)
    for identifier in others.get("load_balancer_uids") or []:
        if (balancer := account.load_balancers.get(identifier)) and balancer.ip:
            # It connects to droplets from the private network, where its address ends alike.
            private = ipaddress.IPv4Address(balancer.ip) + (1 << 16)
            addresses += [balancer.ip, str(private)]
    return Let(rule["protocol"], str(rule.get("ports") or ALL_PORTS), tuple(sorted(addresses)))


def _addresses(droplets: Iterable[Droplet]) -> list[str]:
    found = (address for one in droplets for address in (one.public_address, one.private_address))
    return [address for address in found if address]
