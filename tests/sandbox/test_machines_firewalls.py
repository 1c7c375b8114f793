"""Cloud Firewalls of the sandbox drop packets, as long as a droplet is behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Machine, Sandbox
from tests.sandbox.droplets import Shop
from tests.sandbox.port_scan import assert_open, listening
from tests.waiting import until

pytestmark = pytest.mark.sandbox

OUT = [{"protocol": "tcp", "ports": "0", "destinations": {"addresses": ["0.0.0.0/0"]}}]


@pytest.fixture(scope="module")
def pair(shop: Shop) -> Iterator[tuple[Machine, Machine]]:
    """Return a machine with the tag of a firewall, and a neighbour."""
    walled, neighbour = shop.order("walled-1", "neighbour-1")
    client = shop.client()
    client.tags.create(body={"name": "walled"})
    resource = {"resource_id": str(walled.droplet_id), "resource_type": "droplet"}
    client.tags.assign_resources("walled", body={"resources": [resource]})
    for machine in (walled, neighbour):
        machine.wait_ready()
    walled.run("systemd-run --unit=listener python3 -m http.server 8000")
    until(lambda: walled.run("curl -fs http://127.0.0.1:8000/", check=False).returncode == 0)
    yield walled, neighbour
    for machine in (walled, neighbour):
        client.droplets.destroy(machine.droplet_id)


def test_packets_are_dropped_unless_a_rule_lets_them_in(
    shop: Shop, sandbox: Sandbox, pair: tuple[Machine, Machine]
) -> None:
    walled, neighbour = pair
    client = shop.client()
    assert_open({22, 8000}, walled.private_address, walled, by=neighbour)
    rules = [
        {"protocol": "tcp", "ports": "22", "sources": {"addresses": [f"{sandbox.gateway}/32"]}},
        {"protocol": "tcp", "ports": "8000-8010", "sources": {"droplet_ids": [neighbour.droplet_id]}},
    ]
    body = {"name": "wall", "inbound_rules": rules, "outbound_rules": OUT, "tags": ["walled"]}
    wall = client.firewalls.create(body=body)["firewall"]["id"]
    assert_open({22}, walled.address, walled)
    for address in (walled.address, walled.private_address):
        assert_open({8000}, address, walled, by=neighbour)
    # Its own connections, and the answers to them, pass.
    assert_open({22}, neighbour.private_address, neighbour, by=walled)

    cycle = {"type": "power_cycle"}
    action = client.droplet_actions.post(walled.droplet_id, body=cycle)["action"]["id"]
    until(lambda: client.actions.get(action)["action"]["status"] == "completed")
    walled.wait_ready()
    until(lambda: 22 in listening(walled), "sshd is back")
    assert_open({22}, walled.address, walled)
    assert_open(set(), walled.private_address, walled, by=neighbour)

    client.firewalls.update(wall, body={**body, "outbound_rules": []})
    assert_open(set(), neighbour.private_address, neighbour, by=walled)
    client.firewalls.delete(wall)
    assert_open({22}, walled.private_address, walled, by=neighbour)
