"""The ports of a provisioned fleet, as docs/install.md lists them: scanned from everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Machine
from tests.sandbox.droplets import Shop
from tests.sandbox.port_scan import assert_open
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

SSH, HTTP, APP = 22, 80, 8080
STATISTICS = 8404


@pytest.fixture(scope="module")
def sibling(shop: Shop, stack: Stack) -> Iterator[Machine]:
    """Return a droplet of somebody else in the same network."""
    [machine] = shop.order("sibling-1", beside=stack.proxy())
    machine.wait_ready()
    yield machine
    shop.client().droplets.destroy(machine.droplet_id)


def test_strangers_and_siblings_reach_the_proxy_s_public_port_and_nothing_else(
    stack: Stack, sibling: Machine
) -> None:
    proxy = stack.proxy()
    # Not an address of Airflow's.
    stranger = sibling.private_address.rpartition(".")[0] + ".1"
    [server, *_] = stack.machines(stack.live())
    assert_open({HTTP}, proxy.address, proxy, source=stranger)
    assert_open(set(), server.address, server, source=stranger)
    for by in (sibling, server):
        for address in (proxy.address, proxy.private_address):
            assert_open({HTTP}, address, proxy, by=by)
    for color in ("blue", "green"):
        for target in stack.machines(color):
            if target.name == server.name:
                continue
            for by in (sibling, server):
                assert_open(set(), target.address, target, by=by)
                assert_open(set(), target.private_address, target, by=by)


def test_airflow_and_the_proxy_reach_what_they_need(stack: Stack) -> None:
    proxy = stack.proxy()
    [server, *_] = stack.machines(stack.live())
    assert_open({SSH, HTTP}, proxy.address, proxy)
    assert_open({SSH}, server.address, server)
    assert_open({APP}, server.private_address, server, by=proxy)
    proxy.run(["bash", "-c", f"</dev/tcp/127.0.0.1/{STATISTICS}"])
