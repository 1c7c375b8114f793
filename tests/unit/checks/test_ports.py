"""Findings about ports that were tried: who was kept out, and who was let in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from agent.facts.ports import NO_ANSWER, OPEN, REFUSED
from bluegreen.checks import ports
from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import AppServer, Facts, Machine, Reading
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Fleet
from bluegreen.fleet.firewalls import wanted_firewalls
from tests.unit.facts import HOME, droplet, facts, server
from tests.unit.my_app import app_with

APP = app_with(fleet={"ssh_from": ["203.0.113.7"]})
PROXY, BLUE, GREEN = (
    droplet(number, name, tags=frozenset({tag}))
    for number, name, tag in (
        (1, "lb-1", APP.fleet.tags.own_proxies),
        (3, "blue-1", APP.fleet.tags.own_servers),
        (4, "green-1", APP.fleet.tags.own_servers),
    )
)
FLEET = Fleet(proxies=(PROXY,), blue=(BLUE,), green=(GREEN,))
RULES = tuple({"id": one.name, **one.request()} for one in wanted_firewalls(APP))


def tried(answers: dict[tuple[str, str], str] | None = None, **changes: Any) -> Facts:
    """Return what is known of a calm fleet; ``answers`` are by who connects and the end of the label."""
    known = facts(app=APP, fleet=FLEET, account=Account(FLEET.droplets, HOME, firewalls=RULES), **changes)
    given = answers or {}

    def by(name: str) -> dict[str, str]:
        asked = [one for one in known.port_trials if one.by == name]
        return {
            one.asked.label: next(
                (
                    answer
                    for (source, end), answer in given.items()
                    if source == name and one.asked.label.endswith(end)
                ),
                OPEN if one.is_wanted else NO_ANSWER,
            )
            for one in asked
        }

    def told(reading: Reading[Any], name: str) -> Reading[Any]:
        if not isinstance(reading.answer, Machine):
            return reading
        return replace(reading, answer=reading.answer.model_copy(update={"ports": by(name)}))

    return replace(
        known,
        airflow_ports=by("Airflow"),
        proxies={name: told(one, name) for name, one in known.proxies.items()},
        servers={name: told(one, name) for name, one in known.servers.items()},
    )


def reported(known: Facts) -> list[str]:
    return [f"{one.severity} {one.subject}: {one.what}" for one in ports.ports(known)]


def test_firewalls_at_work_are_no_finding() -> None:
    assert reported(tried()) == []


def test_a_proxy_that_does_not_reach_a_droplet_is_an_error_where_a_deploy_needs_it() -> None:
    for end, name, severity in (("0.4:8080", "green-1", "error"), ("0.3:8080", "blue-1", "warning")):
        address = f"198.19.{end.removesuffix(':8080')}"
        assert reported(tried({("lb-1", end): NO_ANSWER})) == [
            f"{severity} {name}: port 8080 ({address}) should be open to lb-1, "
            "and does not answer in two tries"
        ]


def test_a_service_that_does_not_run_is_no_affair_of_the_firewall() -> None:
    assert reported(tried({("lb-1", "0.4:8080"): REFUSED})) == []


def test_an_open_port_is_reported_with_everybody_who_was_let_in() -> None:
    known = tried({("Airflow", "0.3:8080"): OPEN, ("green-1", "19.0.3:8080"): OPEN, ("blue-1", "1:22"): OPEN})
    assert reported(known) == [
        "warning blue-1: port 8080 (198.18.0.3) should be closed to Airflow, green-1, and is open to them",
        "warning lb-1: port 22 (198.19.0.1) should be closed to blue-1, and is open to them",
    ]
    [first, _] = ports.ports(known)
    assert "bluegreen_provision__my_perl_app" in first.advice


def test_a_refusal_proves_that_no_firewall_is_there_only_where_nobody_else_refuses() -> None:
    """A company's firewall on the way from Airflow may answer for the droplet."""
    assert reported(tried({("Airflow", "0.3:8080"): REFUSED, ("Airflow", "1:8404"): REFUSED})) == []
    [found] = reported(tried({("green-1", "0.3:8080"): REFUSED}))
    assert "should be closed to green-1, and refuses them, so that nothing drops what they send" in found


def test_what_another_check_has_said_of_rules_is_not_said_again_for_each_port() -> None:
    let_in = {("green-1", "0.3:8080"): OPEN}
    for firewalls in (None, (), RULES[:1], (RULES[0], {**RULES[1], "inbound_rules": []})):
        known = tried(let_in)
        account = replace(known.account, firewalls=firewalls)
        assert reported(replace(known, account=account)) == []
    untagged = FLEET.model_copy(update={"blue": (BLUE.model_copy(update={"tags": frozenset()}),)})
    assert reported(replace(tried(let_in), fleet=untagged)) == []


def test_a_port_that_another_firewall_opens_on_purpose_is_no_finding() -> None:
    for opened, expected in (("8000-8100", 0), ("0", 0), ("9100", 1)):
        rule = {"protocol": "tcp", "ports": opened, "sources": {"addresses": ["10.0.0.7"]}}
        theirs = {"name": "theirs", "tags": [APP.fleet.tags.own_servers], "inbound_rules": [rule]}
        known = tried({("green-1", "0.3:8080"): OPEN})
        assert (
            len(reported(replace(known, account=replace(known.account, firewalls=(*RULES, theirs)))))
            == expected
        )


def test_airflow_that_is_locked_out_is_one_finding_that_names_the_setting() -> None:
    away: Reading[AppServer] = Reading(BlueGreenError("it cannot be reached"), 0.0, 0.0)
    known = tried(
        {("Airflow", ":22"): NO_ANSWER, ("lb-1", ":8080"): NO_ANSWER},
        servers={"blue-1": away, "green-1": away},
    )
    [found] = ports.ports(known)
    assert (found.severity, found.subject) == ("warning", "blue-1, green-1")
    assert found.what == "port 22 should be open to Airflow, and does not answer in two tries"
    assert "fleet.ssh_from" in found.advice


def test_a_machine_that_has_answered_by_ssh_was_reached() -> None:
    assert reported(tried({("Airflow", ":22"): NO_ANSWER})) == []


def test_a_machine_that_could_not_be_asked_says_nothing_of_others() -> None:
    away: Reading[AppServer] = Reading(BlueGreenError("it cannot be reached"), 0.0, 0.0)
    assert reported(tried(servers={"blue-1": away, "green-1": server()})) == []


def test_of_many_machines_the_first_are_named() -> None:
    assert ports._named([f"blue-{number}" for number in range(1, 9)]).endswith("blue-5 and 3 more")


def test_a_network_of_droplets_in_ssh_from_makes_their_ssh_no_finding() -> None:
    networks = [ip_network("198.19.0.0/16")]
    app = APP.model_copy(update={"fleet": APP.fleet.model_copy(update={"ssh_from": networks})})
    assert reported(replace(tried({("blue-1", "1:22"): OPEN}), app=app)) == []
