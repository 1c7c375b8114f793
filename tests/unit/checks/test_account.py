"""The account, and the fleet as DigitalOcean's API describes it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from bluegreen.checks import account
from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import Facts
from bluegreen.checks.run import findings_in
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Fleet
from bluegreen.fleet.firewalls import wanted_firewalls
from bluegreen.fleet.vpc import Vpc
from bluegreen.settings.app_file import load_app
from tests.unit.facts import FLEET, HOME, MAIN, droplet, facts, with_green
from tests.unit.my_app import app_with


def test_an_idle_color_weaker_than_the_live_one_is_reported() -> None:
    found = account.completeness(facts(fleet=with_green(droplet(4, "green-1", memory=512))))
    assert "it has 512 MB of memory, blue has 1024" in [one.what for one in found]


def test_a_droplet_in_another_network_is_an_error() -> None:
    [found] = account.network(facts(fleet=with_green(droplet(4, "green-1", vpc="other"))))
    assert (found.subject, found.severity) == ("green-1", "error")


@pytest.mark.parametrize(("vpc", "lines"), [(None, 1), ("default-nyc3", 0)])
def test_a_fleet_in_a_network_that_others_share_is_one_line_until_somebody_decides(
    vpc: str | None, lines: int
) -> None:
    shared = Account(FLEET.droplets, Vpc("home", "default-nyc3", "nyc3", is_default=True))
    found = list(account.network(facts(app=app_with(fleet={"vpc": vpc}), account=shared)))
    assert len(found) == lines
    for one in found:
        assert (one.severity, one.subject) == ("warning", "fleet.vpc")
        assert "the VPC network default-nyc3, which is not the app's own" in one.what
        assert one.advice.startswith("set fleet.vpc to default-nyc3 to leave it so")


def test_a_fleet_in_its_own_network_or_before_there_is_one_is_fine() -> None:
    for home in (HOME, None):
        assert list(account.network(facts(account=Account(FLEET.droplets, home)))) == []


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


def walled(ssh_from: str | None = "203.0.113.7", **changes: Any) -> Facts:
    """Return a fleet behind its firewalls, as the settings want them."""
    app = load_app("my_perl_app")
    networks = [ip_network(ssh_from)] if ssh_from else []
    app = app.model_copy(update={"fleet": app.fleet.model_copy(update={"ssh_from": networks})})
    proxy, blue, green = (
        one.model_copy(update={"tags": one.tags | {tag}})
        for one, tag in zip(
            FLEET.droplets, ("app:my_perl_app:proxy", *["app:my_perl_app:server"] * 2), strict=True
        )
    )
    fleet = Fleet(proxies=(proxy,), blue=(blue,), green=(green,))
    there = [{"id": one.name, **one.request()} for one in wanted_firewalls(app)]
    known = Account(fleet.droplets, HOME, firewalls=tuple(there))
    return facts(**{"app": app, "fleet": fleet, "account": known, **changes})


def reported(known: Facts) -> list[str]:
    found = list(account.firewalls(known))
    assert {one.severity for one in found} <= {"warning"}
    return [f"{one.subject}: {one.what}" for one in found]


def test_a_fleet_behind_its_firewalls_is_fine() -> None:
    assert reported(walled()) == []


def test_firewalls_that_are_missing_and_droplets_without_one_are_reported() -> None:
    assert reported(walled(account=Account(FLEET.droplets, HOME, firewalls=()), fleet=FLEET)) == [
        "bluegreen-my-perl-app-proxies: it is not there, so every port is open to everybody",
        "bluegreen-my-perl-app-servers: it is not there, so every port is open to everybody",
        "lb-1: it lacks the tag app:my_perl_app:proxy, so no firewall protects it",
        "blue-1: it lacks the tag app:my_perl_app:server, so no firewall protects it",
        "green-1: it lacks the tag app:my_perl_app:server, so no firewall protects it",
    ]


def test_a_foreign_rule_is_reported_with_its_firewall() -> None:
    known = walled()
    everybody = {"protocol": "tcp", "ports": "5432", "sources": {"addresses": ["0.0.0.0/0"]}}
    extra = {"name": "theirs", "tags": ["app:my_perl_app:server"], "inbound_rules": [everybody]}
    there = known.account.firewalls or ()
    opened = replace(known, account=replace(known.account, firewalls=(*there, extra)))
    assert reported(opened) == ["theirs: it opens tcp 5432 of this app to everybody"]


def test_ssh_that_is_open_to_everybody_is_reported() -> None:
    assert reported(walled(None)) == ["fleet.ssh_from: SSH is open to everybody"]


def test_firewalls_of_somebody_else_are_nobody_s_business_here() -> None:
    assert reported(facts()) == []


@pytest.mark.parametrize(
    ("redirect", "what"),
    [
        (True, "the managed load balancer has no rule for port 443, to which clients are redirected"),
        (False, "the managed load balancer has no rule for port 443"),
    ],
)
def test_a_load_balancer_without_a_rule_for_https_is_named(redirect: bool, what: str) -> None:
    tls = {"certificates": [{"path": "/etc/ssl/private/shop.pem"}], "redirect": redirect}
    app = app_with(traffic={"tls": tls, "public_url": "https://www.example.com"})
    [found] = account.entry_point(
        facts(app=app, account=Account(FLEET.droplets, HOME, balancer="lb", closed_ports=(443,)))
    )
    assert (found.severity, found.subject, found.what) == ("warning", "fleet.entry_point", what)
    assert found.advice == "run bluegreen_provision__my_perl_app"
