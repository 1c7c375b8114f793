"""The account, and the fleet as DigitalOcean's API describes it."""

from __future__ import annotations

from typing import Any

from bluegreen.checks import account
from bluegreen.checks.facts import (
    Account,
)
from bluegreen.checks.run import findings_in
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Fleet
from tests.unit.facts import MAIN, droplet, facts, with_green


def test_an_idle_color_weaker_than_the_live_one_is_reported() -> None:
    found = account.completeness(facts(fleet=with_green(droplet(4, "green-1", memory=512))))
    assert "it has 512 MB of memory, blue has 1024" in [one.what for one in found]


def test_a_droplet_in_another_network_is_an_error() -> None:
    [found] = account.network(facts(fleet=with_green(droplet(4, "green-1", vpc="other"))))
    assert (found.subject, found.severity) == ("green-1", "error")


def test_a_token_without_the_scope_for_droplets_is_one_finding_that_names_the_scope() -> None:
    refused = BlueGreenError("DigitalOcean refused to list droplets (403): You are not authorized")
    nothing: dict[str, Any] = {"statuses": {}, "proxies": {}, "servers": {}}
    empty = Fleet(proxies=(), blue=(), green=())
    [found] = findings_in(facts(account=Account(refused), fleet=empty, source=MAIN, **nothing))
    assert (found.severity, found.subject) == ("error", "connection digitalocean")
    assert "(403)" in found.what
    assert "droplet:read" in found.advice


def test_a_droplet_that_is_off_is_reported() -> None:
    found = [one.what for one in account.roles(facts(fleet=with_green(droplet(4, "green-1", status="off"))))]
    assert "green-1 is 'off' instead of active; power it on" in found
