"""The load balancers and reserved IPs of one sandbox."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sandbox import network
from sandbox.api.edge import Balancing
from sandbox.balancer import Balancer
from sandbox.errors import SandboxError
from sandbox.layout import Layout
from sandbox.machine import Machine
from sandbox.machines import Machines
from sandbox.network import BALANCER_HOSTS, RESERVED_HOSTS, Network

# Read by each machine when it boots; see sandbox.seed.
BOOT_ADDRESSES = "etc/sandbox-network"


class Edge:
    """Runs load balancers and moves reserved IPs; the :class:`~sandbox.api.edge.Edge` of the API.

    :param layout: the sandbox's files.
    :param net: the sandbox's network.
    :param machines: the droplets' machines.
    """

    def __init__(self, layout: Layout, net: Network, machines: Machines) -> None:
        self._layout = layout
        self._network = net
        self._machines = machines
        self._hosts: dict[str, int] = {}
        self._balancers: dict[str, Balancer] = {}
        self._holders: dict[str, int | None] = {}
        self._lock = threading.Lock()
        self._moving = threading.Lock()

    def start_balancer(self, identifier: str, balancing: Balancing) -> str:
        """Start a load balancer without droplets; returns its public address."""
        with self._lock:
            host = next((host for host in BALANCER_HOSTS if host not in self._hosts.values()), None)
            if host is None:
                raise SandboxError(f"a sandbox has {len(BALANCER_HOSTS)} load balancers at most")
            self._hosts[identifier] = host
        name = f"{self._network.bridge}-balancer-{host}"
        addresses = self._network.public_address(host), self._network.private_address(host)
        balancer = Balancer(self._layout.machines / name, f"{self._layout.cgroup}/{name}", *addresses)
        self._balancers[identifier] = balancer
        try:
            for address in addresses:
                network.add_address(self._network, address)
            balancer.start(balancing)
        except SandboxError:
            self.stop_balancer(identifier)
            raise
        return balancer.public_address

    def balance(self, identifier: str, balancing: Balancing, targets: Mapping[int, str]) -> bool:
        """Set a load balancer's droplets; ``False`` if the call has to be repeated."""
        return self._balancers[identifier].balance(balancing, targets)

    def stop_balancer(self, identifier: str) -> None:
        """Stop a load balancer and free its addresses."""
        balancer = self._balancers.pop(identifier)
        balancer.stop()
        for address in (balancer.public_address, balancer.private_address):
            network.remove_address(self._network, address)
        with self._lock:
            del self._hosts[identifier]

    def stop_all(self) -> None:
        """Stop every load balancer."""
        for identifier in list(self._balancers):
            self.stop_balancer(identifier)

    def reserve_ip(self) -> str:
        """Choose an address that no reserved IP has."""
        with self._lock:
            addresses = [self._network.public_address(host) for host in RESERVED_HOSTS]
            free = next((address for address in addresses if address not in self._holders), None)
            if free is None:
                raise SandboxError(f"a sandbox has {len(RESERVED_HOSTS)} reserved IPs at most")
            self._holders[free] = None
        return free

    def assign_ip(self, address: str, droplet: int | None) -> None:
        """Route a reserved address to a machine, and no longer to any other."""
        with self._moving:
            self._move(address, droplet)

    def release_ip(self, address: str) -> None:
        """Free a reserved address."""
        self.assign_ip(address, None)
        del self._holders[address]

    def _move(self, address: str, droplet: int | None) -> None:
        machine = self._machines.machine(droplet) if droplet is not None else None
        holder = self._holders[address]
        if holder is not None:
            # The machine may have been destroyed.
            with suppress(SandboxError):
                _take(self._machines.machine(holder), address)
        self._holders[address] = droplet
        if machine is not None:
            _give(machine, address)
            if machine.running:
                hardware = machine.execute("cat", "/sys/class/net/host0/address").strip()
                network.announce(self._network, address, hardware)
        network.forget(self._network, address)


def _give(machine: Machine, address: str) -> None:
    """Give a machine an address that it keeps when it boots again."""
    _write(machine, [*_lines(machine), f"address replace {address}/32 dev host0"])
    if machine.running:
        machine.execute("ip", "address", "replace", f"{address}/32", "dev", "host0")


def _take(machine: Machine, address: str) -> None:
    """Take an address from a machine."""
    _write(machine, [line for line in _lines(machine) if f" {address}/32 " not in line])
    if machine.running:
        machine.execute("ip", "address", "delete", f"{address}/32", "dev", "host0")


def _file(machine: Machine) -> Path:
    return machine.disk.root / BOOT_ADDRESSES


def _lines(machine: Machine) -> list[str]:
    return _file(machine).read_text().splitlines()


def _write(machine: Machine, lines: list[str]) -> None:
    new = _file(machine).with_suffix(".new")
    try:
        new.write_text("\n".join(lines) + "\n")
        new.rename(_file(machine))
    except OSError as error:
        raise SandboxError(f"the addresses of {machine.name} cannot be written: {error}") from None
