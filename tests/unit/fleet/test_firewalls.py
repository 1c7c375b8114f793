"""Cloud Firewalls: which rules are wanted, and what is said of those that are found."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from bluegreen.errors import FleetError
from bluegreen.fleet.firewalls import (
    EVERYBODY,
    Firewall,
    Opening,
    applying_to,
    choose_firewall,
    differences,
    is_as_wanted,
    opened_by,
    wanted_firewalls,
)
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.fleet import EntryPoint
from tests.unit.facts import droplet

AIRFLOW = "203.0.113.7/32"
PROXIES, SERVERS = "app:my_perl_app:proxy", "app:my_perl_app:server"


def app(**fleet: Any) -> App:
    one = load_app("my_perl_app")
    settings = {"ssh_from": [ip_network(AIRFLOW)], **fleet}
    return one.model_copy(update={"fleet": one.fleet.model_copy(update=settings)})


def said(firewall: Firewall) -> set[str]:
    return {str(opening) for opening in firewall.openings}


def test_clients_reach_the_proxies_and_proxies_the_app_droplets() -> None:
    proxies, servers = wanted_firewalls(app())
    ssh = f"tcp port 22 from {AIRFLOW}"
    assert (proxies.name, proxies.tag) == ("bluegreen-my-perl-app-proxies", PROXIES)
    assert said(proxies) == {ssh, "tcp port 80 from everybody", "tcp port 443 from everybody"}
    assert (servers.name, servers.tag) == ("bluegreen-my-perl-app-servers", SERVERS)
    assert said(servers) == {ssh, f"tcp ports 1024-65535 from tag {PROXIES}"}


def test_without_airflows_addresses_ssh_is_open_to_everybody() -> None:
    for firewall in wanted_firewalls(app(ssh_from=[])):
        ssh = {one.source for one in firewall.openings if one.ports == "22"}
        assert ssh == set(EVERYBODY)


def test_behind_a_managed_load_balancer_strangers_reach_nothing() -> None:
    balanced = app(entry_point=EntryPoint.MANAGED_LOAD_BALANCER)
    proxies, _ = wanted_firewalls(balanced, "lb-7")
    assert said(proxies) == {
        *(f"tcp port {port} from load balancer lb-7" for port in (80, 443, 8405)),
        *(f"tcp port {port} from {AIRFLOW}" for port in (22, 80, 443)),
        *(f"tcp port {port} from tag {PROXIES}" for port in (80, 443)),
    }
    before_there_is_one, _ = wanted_firewalls(balanced)
    assert "load balancer" not in str(said(before_there_is_one))


def as_found(firewall: Firewall, **changes: Any) -> dict[str, Any]:
    return {"id": "f-1", **firewall.request(), **changes}


def with_address(rules: list[dict[str, Any]], before: str, after: str) -> list[dict[str, Any]]:
    return [
        {
            **rule,
            "sources": {
                kind: [after if one == before else one for one in sources]
                for kind, sources in rule["sources"].items()
            },
        }
        for rule in rules
    ]


def test_a_single_address_counts_with_and_without_its_length() -> None:
    proxies, _ = wanted_firewalls(app())
    rules = with_address(proxies.request()["inbound_rules"], AIRFLOW, "203.0.113.7")
    assert is_as_wanted(proxies, as_found(proxies, inbound_rules=rules))


def test_digitalocean_ignores_case_in_tags() -> None:
    proxies, servers = wanted_firewalls(app())
    assert is_as_wanted(proxies, as_found(proxies, tags=[PROXIES.upper()]))
    rules = [
        {**rule, "sources": {**rule["sources"], "tags": [PROXIES.upper()]}}
        if "tags" in rule["sources"]
        else rule
        for rule in servers.request()["inbound_rules"]
    ]
    assert is_as_wanted(servers, as_found(servers, inbound_rules=rules))


MONITORING = {"protocol": "tcp", "ports": "9100", "sources": {"addresses": ["192.0.2.1"]}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, None),
        ({"tags": []}, f"it does not apply to the tag {PROXIES}"),
        ({"outbound_rules": []}, "it keeps the droplets from connecting to the outside"),
    ],
)
def test_each_difference_is_a_line(changes: dict[str, Any], line: str | None) -> None:
    proxies, _ = wanted_firewalls(app())
    found = as_found(proxies, **changes)
    assert differences(proxies, found) == ([line] if line else [])
    assert is_as_wanted(proxies, found) is (line is None)


def test_rules_that_are_missing_or_too_many_are_named() -> None:
    proxies, _ = wanted_firewalls(app())
    rules = [rule for rule in proxies.request()["inbound_rules"] if rule["ports"] != "22"]
    assert differences(proxies, as_found(proxies, inbound_rules=[*rules, MONITORING])) == [
        f"it does not let in tcp port 22 from {AIRFLOW}",
        "it lets in tcp port 9100 from 192.0.2.1/32, which the settings do not want",
    ]
    assert differences(proxies, None) == ["it is not there, so every port is open to everybody"]


def test_a_correction_keeps_the_droplets_and_tags_that_a_person_has_added() -> None:
    proxies, _ = wanted_firewalls(app())
    request = proxies.request(as_found(proxies, tags=["extra"], droplet_ids=[7], inbound_rules=[MONITORING]))
    assert request["tags"] == [PROXIES, "extra"]
    assert request["droplet_ids"] == [7]
    assert request["inbound_rules"] == proxies.request()["inbound_rules"]


def test_only_a_firewall_with_its_name_and_tag_is_this_apps() -> None:
    proxies, _ = wanted_firewalls(app())
    own = as_found(proxies)
    assert choose_firewall(proxies, [{"name": "somebody-s"}, own]) == own
    assert choose_firewall(proxies, [{"name": "somebody-s"}]) is None
    with pytest.raises(FleetError, match="is for the tag other instead of"):
        choose_firewall(proxies, [as_found(proxies, tags=["other"])])
    with pytest.raises(FleetError, match="2 firewalls are named"):
        choose_firewall(proxies, [own, own])


def test_what_other_firewalls_open_to_everybody_is_named() -> None:
    _, servers = wanted_firewalls(app())
    member = droplet(4, "green-1", tags=frozenset({"env:green", SERVERS}))
    everybody = {"protocol": "tcp", "ports": "5432", "sources": {"addresses": ["0.0.0.0/0"]}}
    others: list[dict[str, Any]] = [
        {"name": "by-tag", "tags": ["ENV:green"], "inbound_rules": [everybody, MONITORING]},
        {"name": "by-id", "droplet_ids": [4], "inbound_rules": [everybody]},
        {"name": "elsewhere", "tags": ["other"], "inbound_rules": [everybody]},
    ]
    assert opened_by(applying_to([member], others), servers) == [
        ("by-id", "it opens tcp 5432 of this app to everybody"),
        ("by-tag", "it opens tcp 5432 of this app to everybody"),
    ]


def test_an_opening_of_all_ports_says_so() -> None:
    assert str(Opening("udp", "0", "droplet_ids", "12")) == "udp all ports from droplet 12"
