"""Machines that are only pretended, for tests of the API itself."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sandbox.api.hypervisor import Addresses, Filter, Order
from sandbox.errors import SandboxError


class FakeMachines:
    """Does what it is told at once, and remembers it.

    :ivar done: what happened, as (verb, droplet).
    :ivar orders: what was ordered, by droplet.
    :ivar hold: while cleared, no machine gets made, so that droplets stay ``new``.
    """

    def __init__(self) -> None:
        self.stopped: Callable[[int], None] = lambda droplet: None
        self.done: list[tuple[str, int]] = []
        self.orders: dict[int, Order] = {}
        self.broken = False
        self.filters: dict[int, Filter | None] = {}
        self.hold = threading.Event()
        self.hold.set()

    def reserve(self, droplet: int) -> Addresses:
        self.hold.wait(10)
        host = droplet % 200 + 10
        return Addresses(f"198.18.1.{host}", f"198.19.1.{host}", "198.18.1.1")

    def filter(self, droplet: int, wanted: Filter | None) -> None:
        self.filters[droplet] = wanted

    def create(self, droplet: int, order: Order) -> None:
        if self.broken:
            raise SandboxError("no room")
        self.orders[droplet] = order
        self.done.append(("create", droplet))

    def power_on(self, droplet: int) -> None:
        self.done.append(("power_on", droplet))

    def power_off(self, droplet: int) -> None:
        self.done.append(("power_off", droplet))

    def shutdown(self, droplet: int) -> bool:
        self.done.append(("shutdown", droplet))
        return not self.broken

    def reboot(self, droplet: int) -> bool:
        self.done.append(("reboot", droplet))
        return True

    def destroy(self, droplet: int) -> None:
        self.done.append(("destroy", droplet))
