"""What the API needs of whatever runs load balancers and moves reserved IPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Rule:
    """What arrives at one port of a load balancer goes to one port of its droplets.

    :param mode: ``http`` if requests are balanced, ``tcp`` if connections are.
    """

    mode: str
    entry_port: int
    target_port: int


@dataclass(frozen=True)
class HealthCheck:
    """How a load balancer finds out which of its droplets may have traffic; times in seconds.

    :param protocol: ``http``, ``https`` or ``tcp``.
    :param fall: failures in a row that take a droplet out.
    :param rise: successes in a row that take it in.
    """

    protocol: str
    port: int
    path: str
    interval: int
    timeout: int
    fall: int
    rise: int


@dataclass(frozen=True)
class Balancing:
    """What a load balancer does.

    :param proxy_protocol: send the client's address in PROXY protocol version 1, in health checks too.
    :param idle_timeout: seconds.
    """

    rules: tuple[Rule, ...]
    check: HealthCheck
    proxy_protocol: bool
    idle_timeout: int


class Edge(Protocol):
    """Addresses that are not a droplet's own. Its methods block.

    Each raises :class:`~sandbox.errors.SandboxError` if it cannot do what it should.
    """

    def start_balancer(self, identifier: str, balancing: Balancing) -> str:
        """Start a load balancer without droplets; returns its public address."""

    def balance(self, identifier: str, balancing: Balancing, targets: Mapping[int, str]) -> bool:
        """Give a load balancer its droplets, private address by id; ``False`` if that has to be repeated."""

    def stop_balancer(self, identifier: str) -> None:
        """Stop a load balancer and free its address."""

    def reserve_ip(self) -> str:
        """Choose a public address; quick."""

    def assign_ip(self, address: str, droplet: int | None) -> None:
        """Lead a reserved address to a droplet's machine, and to no other any more."""

    def release_ip(self, address: str) -> None:
        """Free a reserved address."""
