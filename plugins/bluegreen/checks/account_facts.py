"""What DigitalOcean's API says of the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.vpc import Vpc


@dataclass(frozen=True)
class Account:
    """The account, as DigitalOcean's API describes it.

    :param problems: why something else that provisioning needs could not be read, by what it is.
    :param vpc: the network for new droplets; ``None`` if it is not there yet, or not known.
    :param firewalls: all of the account; ``None`` if they are not this project's, or could not be read.
    :param balancer: id of the app's managed load balancer, if there is one.
    :param closed_ports: ports that clients need and that load balancer has no rule for.
    :param droplets: all with the app's tag; an error if there is no such list.
    """

    droplets: tuple[Droplet, ...] | BlueGreenError
    vpc: Vpc | None = None
    firewalls: tuple[dict[str, Any], ...] | None = None
    balancer: str | None = None
    closed_ports: tuple[int, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
