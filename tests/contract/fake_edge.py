"""Load balancers and reserved IPs that are only pretended, for tests of the API itself."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.api.edge import Balancing
from sandbox.errors import SandboxError


class FakeEdge:
    """Does what it is told at once, and remembers it.

    :ivar balanced: what each load balancer does, and its droplets.
    :ivar held: which droplet each reserved IP leads to.
    """

    def __init__(self) -> None:
        self.balanced: dict[str, tuple[Balancing, dict[int, str]]] = {}
        self.held: dict[str, int | None] = {}
        self.broken = False

    def start_balancer(self, identifier: str, balancing: Balancing) -> str:
        if self.broken:
            raise SandboxError("no room")
        self.balanced[identifier] = (balancing, {})
        return f"198.18.1.{2 + len(self.balanced)}"

    def balance(self, identifier: str, balancing: Balancing, targets: Mapping[int, str]) -> bool:
        self.balanced[identifier] = (balancing, dict(targets))
        return True

    def stop_balancer(self, identifier: str) -> None:
        del self.balanced[identifier]

    def reserve_ip(self) -> str:
        address = f"198.18.1.{251 + len(self.held)}"
        self.held[address] = None
        return address

    def assign_ip(self, address: str, droplet: int | None) -> None:
        if self.broken:
            raise SandboxError("it is off")
        self.held[address] = droplet

    def release_ip(self, address: str) -> None:
        del self.held[address]
