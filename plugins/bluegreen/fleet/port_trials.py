"""Which ports are tried, from where, to see whether the firewalls are at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from itertools import islice

from agent.facts.ports import MOST_PORTS, Port
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.firewalls import SSH_PORT
from bluegreen.settings.app import App

# The source of trials that Airflow makes itself.
AIRFLOW = "Airflow"
STATISTICS_PORT = 8404
# Droplets that try each port of another one. The firewall is the target's, so more would find nothing else.
NEIGHBORS = 2


@dataclass(frozen=True)
class PortTrial:
    """A port of a droplet, and who tries it.

    :param source: the droplet that connects, or ``None`` for Airflow.
    :param address: one of the target's.
    :param is_wanted: whether the connection should be made.
    """

    source: Droplet | None
    target: Droplet
    address: IPv4Address
    port: int
    is_wanted: bool

    @property
    def is_ssh_by_airflow(self) -> bool:
        """Whether it is what Airflow needs of every machine."""
        return self.source is None and self.is_wanted

    @property
    def by(self) -> str:
        """The name of who connects."""
        return self.source.name if self.source else AIRFLOW

    @property
    def asked(self) -> Port:
        """The trial as a machine is asked for it."""
        return Port(str(self.address), self.port, self.is_wanted)


def port_trials(app: App, fleet: Fleet, app_ports: Mapping[str, int]) -> list[PortTrial]:
    """Return what is tried of a fleet behind its firewalls, at most ``MOST_PORTS`` by each source.

    :param app_ports: the ports that servers have now, by the droplet's name; otherwise it is the setting's.
    """
    if not app.fleet.firewalls:
        return []
    servers = [one for one in fleet.blue + fleet.green if one.private is not None]
    ports = {one.name: app_ports.get(one.name, app.server.port) for one in servers}
    found = list(islice(_by_airflow(fleet, ports), MOST_PORTS))
    for proxy in fleet.proxies:
        reached = (_private(proxy, one, ports[one.name], is_wanted=True) for one in servers)
        found += islice(reached, MOST_PORTS)
    for place, server in enumerate(servers):
        found += [
            _private(server, one, ports[one.name], is_wanted=False)
            for one in _next(servers, place + 1, server)
        ]
        if not _may_use_ssh(app, server):
            proxies = [one for one in fleet.proxies if one.private is not None]
            found += [
                _private(server, one, SSH_PORT, is_wanted=False) for one in _next(proxies, place, server)
            ]
    return found


def _by_airflow(fleet: Fleet, app_ports: Mapping[str, int]) -> Iterator[PortTrial]:
    for droplet in fleet.droplets:
        if droplet.public is None or droplet.status != "active":
            continue
        yield PortTrial(None, droplet, droplet.public, SSH_PORT, is_wanted=True)
        closed = STATISTICS_PORT if droplet in fleet.proxies else app_ports.get(droplet.name)
        if closed is not None:
            yield PortTrial(None, droplet, droplet.public, closed, is_wanted=False)


def _private(source: Droplet, target: Droplet, port: int, *, is_wanted: bool) -> PortTrial:
    assert target.private is not None  # noqa: S101
    return PortTrial(source, target, target.private, port, is_wanted)


def _next(members: Sequence[Droplet], first: int, source: Droplet) -> list[Droplet]:
    """Return the next few of some droplets, and the first ones after the last."""
    found = [members[(first + place) % len(members)] for place in range(min(NEIGHBORS, len(members)))]
    return [one for one in found if one.id != source.id]


def _may_use_ssh(app: App, server: Droplet) -> bool:
    """Whether a droplet's address is one from which SSH is open, as all are without that setting."""
    own = [one for one in (server.public, server.private) if one is not None]
    networks = app.fleet.ssh_from
    return not networks or any(ip_address(str(one)) in network for one in own for network in networks)
