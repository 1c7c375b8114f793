"""What the firewalls keep out: found out by trying, and with a managed load balancer as the only way in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from demo.environment import APP
from sandbox import Machine
from tests.sandbox.app_file import settings
from tests.sandbox.droplets import Shop
from tests.sandbox.judged import judged
from tests.sandbox.port_scan import assert_open
from tests.sandbox.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

SSH, HTTP, APP_PORT, MONITOR = 22, 80, 8080, 8405


def found(stack: Stack) -> list[str]:
    """Return what a dry run finds about ports and firewalls."""
    ended = stack.run("dry_run", ref=stack.live_ref())
    findings = stack.client.xcom(ended.run, "check", "findings")
    lines = [f"{one['severity']} {one['subject']}: {one['what']}" for one in findings]
    return [line for line in lines if re.search(r"\bport \d|firewall|bluegreen-my", line)]


@contextmanager
def changed(machine: Machine, commands: str) -> Iterator[None]:
    """Change what a machine lets in, behind the API's back, for a while."""
    before = machine.run("iptables-save -t filter").stdout
    machine.run(commands)
    try:
        yield
    finally:
        machine.run("iptables-restore", text=before)


def test_a_port_that_nothing_drops_and_one_that_something_else_drops_are_found_by_trying(
    stack: Stack,
) -> None:
    assert found(stack) == []
    proxy, (open_one, *_), (cut_off, *_) = (
        stack.proxy(),
        stack.machines(stack.live()),
        stack.machines(stack.idle()),
    )
    with changed(open_one, "iptables -P INPUT ACCEPT && iptables -F INPUT"):
        lines = found(stack)
    assert len(lines) == 1, lines
    assert f"warning {open_one.name}: port {APP_PORT} (" in lines[0]
    # The app listens on its private address only: what Airflow gets is a refusal, which proves nothing.
    assert "should be closed to my-perl-app-" in lines[0]
    assert lines[0].endswith("and is open to them")

    with changed(cut_off, f"iptables -I INPUT -p tcp --dport {APP_PORT} -j DROP"):
        lines = found(stack)
    assert lines == [
        f"error {cut_off.name}: port {APP_PORT} ({cut_off.private_address}) should be open to {proxy.name}, "
        "and does not answer in two tries"
    ]
    assert found(stack) == []


@contextmanager
def balanced(stack: Stack) -> Iterator[str]:
    """Put a managed load balancer in front of the proxies, and return its address; take it away again."""
    client = stack.environment.digitalocean()
    fleet = yaml.safe_load((stack.environment.directory / "apps" / f"{APP}.yaml").read_text())["fleet"]
    try:
        with settings(stack, {"fleet": {**fleet, "entry_point": "managed_load_balancer"}}):
            provisioned = stack.run("provision").expect("done")
            entry = stack.client.xcom(provisioned.run, "entry_point")
            assert entry["kind"] == "managed_load_balancer"
            yield str(entry["address"])
    finally:
        for one in client.load_balancers.list()["load_balancers"]:
            client.load_balancers.delete(one["id"])
        stack.run("provision").expect("done")
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")


def test_behind_a_managed_load_balancer_the_proxies_answer_to_nobody_else(
    stack: Stack, tmp_path: Path
) -> None:
    with balanced(stack) as address:
        # The first deploy lets HAProxy trust it; until then it has no healthy proxy.
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        until(
            lambda: requests.get(f"http://{address}/", timeout=5).ok, "the load balancer passes requests on"
        )
        with judged(f"http://{address}/", tmp_path, ["/"]) as seen:
            stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert (seen[0].failed, seen[0].app_errors) == (0, 0), seen[0].failures
        assert seen[0].requests > 100

        proxy, [server, *_] = stack.proxy(), stack.machines(stack.live())
        network = proxy.private_address.rpartition(".")[0]
        stranger, balancer = f"{network}.1", f"{network}.{address.rpartition('.')[2]}"
        for target in (proxy.address, proxy.private_address):
            assert_open(set(), target, proxy, by=server)
        assert_open(set(), proxy.address, proxy, source=stranger)
        assert_open({HTTP, MONITOR}, proxy.private_address, proxy, source=balancer)
        assert_open(set(), server.private_address, server, source=balancer)
        # Airflow asks each proxy as a client would.
        assert_open({SSH, HTTP}, proxy.address, proxy)
        assert found(stack) == []
    assert_open({HTTP}, proxy.address, proxy, source=stranger)


def test_a_fleet_has_a_private_network_of_its_own_that_droplets_elsewhere_do_not_reach(
    stack: Stack, shop: Shop
) -> None:
    client, proxy = stack.environment.digitalocean(), stack.proxy()
    [own] = [one for one in client.vpcs.list()["vpcs"] if one["name"] == "bluegreen-my-perl-app-nyc3"]
    members = client.vpcs.list_members(own["id"])["members"]
    assert {one["name"] for one in members} == {one.name for one in fleet_of(stack)}
    stack.run("provision").expect("done")
    assert [one["id"] for one in client.vpcs.list()["vpcs"] if one["name"] == own["name"]] == [own["id"]]

    inside, elsewhere = shop.order("inside-1", beside=proxy) + shop.order("elsewhere-1")
    try:
        for machine in (inside, elsewhere):
            machine.wait_ready()
        assert_open(set(), inside.private_address, inside, by=elsewhere)
        assert_open(set(), elsewhere.private_address, elsewhere, by=inside)
        assert_open({SSH}, inside.address, inside, by=elsewhere)
        assert_open({HTTP}, proxy.private_address, proxy, by=inside)
        assert_open(set(), proxy.private_address, proxy, by=elsewhere)
        assert_open({HTTP}, proxy.address, proxy, by=elsewhere)
    finally:
        for machine in (inside, elsewhere):
            client.droplets.destroy(machine.droplet_id)
    assert found(stack) == []


def fleet_of(stack: Stack) -> list[Machine]:
    return [*stack.proxies(), *stack.machines("blue"), *stack.machines("green")]
