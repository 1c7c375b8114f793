"""All machines of one sandbox, by the ids of their droplets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox import image, network
from sandbox.api.hypervisor import Addresses, Filter, Order
from sandbox.debian_mirror import DebianMirror
from sandbox.errors import SandboxError
from sandbox.layout import Layout
from sandbox.machine import Machine
from sandbox.network import FIRST_HOST, LAST_HOST, Network
from sandbox.seed import Seed, trusted


@dataclass
class _Place:
    """A droplet's addresses, and its machine once it exists, until the droplet is removed."""

    host: int
    hostname: str = ""
    machine: Machine | None = None
    rules: str | None = None
    given_up: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class Machines:
    """Runs the machines of a sandbox; the :class:`~sandbox.api.hypervisor.Hypervisor` of its API.

    :param layout: the sandbox's files.
    :param net: the sandbox's network.
    :param debian: where the machines get Debian's packages from.
    """

    def __init__(self, layout: Layout, net: Network, debian: DebianMirror) -> None:
        self.stopped: Callable[[int], None] = lambda droplet: None
        self._layout = layout
        self._network = net
        self._debian = debian
        self._places: dict[int, _Place] = {}
        self._hosts = itertools.cycle(range(FIRST_HOST, LAST_HOST + 1))
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def reserve(self, droplet: int) -> Addresses:
        """Choose addresses, the longest unused ones first."""
        with self._lock:
            taken = {place.host for place in self._places.values()}
            free = (next(self._hosts) for _ in range(FIRST_HOST, LAST_HOST + 1))
            host = next((host for host in free if host not in taken), None)
            if host is None:
                raise SandboxError("all addresses of the sandbox are in use")
            self._places[droplet] = _Place(host)
        return self._addresses(host)

    def filter(self, droplet: int, wanted: Filter | None) -> None:
        """Let only this pass to and from a machine, from its first boot on."""
        place = self._place(droplet)
        with place.lock:
            place.rules = network.filter_rules(self._network, wanted) if wanted else None
            if place.machine:
                place.machine.set_filter(place.rules)

    def create(self, droplet: int, order: Order) -> None:
        """Make a machine and start it."""
        root = image.ensure(order.suite, say=lambda text: None)
        place = self._place(droplet)
        with place.lock:
            if place.given_up:
                raise SandboxError(f"droplet {droplet} is gone")
            name = f"{self._network.bridge}-{next(self._numbers)}"
            place.hostname = order.hostname
            place.machine = Machine(
                name=name,
                directory=self._layout.machines / name,
                bridge=self._network.bridge,
                cgroup=f"{self._layout.cgroup}/{name}",
                stopped=lambda: self.stopped(droplet),
            )
            addresses = self._addresses(place.host)
            seed = Seed(
                hostname=order.hostname,
                public_address=addresses.public,
                private_address=addresses.private,
                gateway=addresses.gateway,
                public_keys=order.public_keys,
                user_data=order.user_data,
                files={
                    **self._debian.configuration(root),
                    **trusted(self._layout.certificate_authority.read_text(), root),
                },
            )
            place.machine.install(root, seed, order.disk)
            place.machine.set_filter(place.rules)
            place.machine.power_on()

    def power_on(self, droplet: int) -> None:
        """Power a machine on."""
        self.machine(droplet).power_on()

    def power_off(self, droplet: int) -> None:
        """Cut a machine's power."""
        self.machine(droplet).power_off()

    def shutdown(self, droplet: int) -> bool:
        """Ask a machine to stop."""
        return self.machine(droplet).shutdown()

    def reboot(self, droplet: int) -> bool:
        """Ask a machine to restart."""
        return self.machine(droplet).reboot()

    def destroy(self, droplet: int) -> None:
        """Remove a machine, if it has been made, and free its addresses."""
        with self._lock:
            place = self._places.get(droplet)
        if place is None:
            return
        with place.lock:
            place.given_up = True
            if place.machine:
                place.machine.destroy()
                place.machine = None
        addresses = self._addresses(place.host)
        for address in (addresses.public, addresses.private):
            network.forget(self._network, address)
            network.stop_redirecting(self._network, address)
        with self._lock:
            self._places.pop(droplet, None)

    def destroy_all(self) -> None:
        """Remove every machine, several at a time."""
        threads = [threading.Thread(target=self.destroy, args=(droplet,)) for droplet in list(self._places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def machine(self, droplet: int) -> Machine:
        """Return a droplet's machine.

        :raises SandboxError: the droplet has no machine.
        """
        machine = self._place(droplet).machine
        if machine is None:
            raise SandboxError(f"droplet {droplet} has no machine yet")
        return machine

    def _place(self, droplet: int) -> _Place:
        place = self._places.get(droplet)
        if place is None:
            raise SandboxError(f"droplet {droplet} has no machine")
        return place

    def _addresses(self, host: int) -> Addresses:
        net = self._network
        return Addresses(net.public_address(host), net.private_address(host), net.gateway)
