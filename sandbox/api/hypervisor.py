"""What the API needs of whatever runs the machines; the tests of the API put an empty one in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Order:
    """A machine as the API orders it.

    :param hostname: the droplet's name.
    :param suite: Debian suite of its image.
    :param public_keys: OpenSSH lines for root.
    :param user_data: cloud-init's format.
    :param disk: gigabytes that its size promises.
    """

    hostname: str
    suite: str
    public_keys: list[str]
    user_data: str
    disk: int


@dataclass(frozen=True)
class Addresses:
    """Where a machine is reached."""

    public: str
    private: str
    gateway: str


@dataclass(frozen=True)
class Let:
    """Packets of a protocol that pass between a machine and others.

    :param ports: of the machine, or of the others for packets that it sends: one, a range, or ``0`` for all.
    :param addresses: of the others: IPv4 addresses and networks.
    """

    protocol: str
    ports: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Filter:
    """What passes to and from a machine.

    :param inbound: what passes besides the answers to what has passed; ``None`` if everything does.
    :param outbound: likewise.
    :param dropped: sources and destinations of what does not pass in any case: between two private networks.
    """

    inbound: tuple[Let, ...] | None
    outbound: tuple[Let, ...] | None
    dropped: tuple[tuple[str, str], ...] = ()


class Hypervisor(Protocol):
    """Runs machines, known by the ids of their droplets. Its methods block.

    Each raises :class:`~sandbox.errors.SandboxError` if it cannot do what it should.
    """

    #: Called with a droplet's id when its machine has stopped by itself; from any thread.
    stopped: Callable[[int], None]

    def reserve(self, droplet: int) -> Addresses:
        """Choose the addresses of a machine; quick."""

    def filter(self, droplet: int, wanted: Filter | None) -> None:
        """Let only this pass to and from a machine, made or not yet; everything if it is ``None``."""

    def create(self, droplet: int, order: Order) -> None:
        """Make the machine and start it."""

    def power_on(self, droplet: int) -> None:
        """Give it power."""

    def power_off(self, droplet: int) -> None:
        """Take its power away at once."""

    def shutdown(self, droplet: int) -> bool:
        """Ask it to stop; ``False`` if it does not."""

    def reboot(self, droplet: int) -> bool:
        """Ask it to restart; ``False`` if it does not."""

    def destroy(self, droplet: int) -> None:
        """Remove it."""
