"""Which ports are tried, from where."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network

from agent.facts.ports import MOST_PORTS
from bluegreen.fleet.droplets import Fleet
from bluegreen.fleet.port_trials import NEIGHBORS, PortTrial, port_trials
from bluegreen.settings.app import App
from tests.unit.facts import droplet
from tests.unit.my_app import app_with

FLEET = Fleet(
    proxies=(droplet(1, "lb-1"), droplet(2, "lb-2")),
    blue=(droplet(3, "blue-1"),),
    green=(droplet(4, "green-1"),),
)
APP = app_with(fleet={"ssh_from": ["203.0.113.7"]})


def shown(app: App = APP, fleet: Fleet = FLEET, ports: dict[str, int] | None = None) -> list[str]:
    return [line_of(one) for one in port_trials(app, fleet, ports or {})]


def line_of(trial: PortTrial) -> str:
    what = "reaches" if trial.is_wanted else "does not reach"
    return f"{trial.by} {what} {trial.port} of {trial.target.name} at {trial.address}"


def test_each_port_of_the_perimeter_is_tried_from_where_it_counts() -> None:
    assert shown() == [
        "Airflow reaches 22 of lb-1 at 198.18.0.1",
        "Airflow does not reach 8404 of lb-1 at 198.18.0.1",
        "Airflow reaches 22 of lb-2 at 198.18.0.2",
        "Airflow does not reach 8404 of lb-2 at 198.18.0.2",
        "Airflow reaches 22 of blue-1 at 198.18.0.3",
        "Airflow does not reach 8080 of blue-1 at 198.18.0.3",
        "Airflow reaches 22 of green-1 at 198.18.0.4",
        "Airflow does not reach 8080 of green-1 at 198.18.0.4",
        "lb-1 reaches 8080 of blue-1 at 198.19.0.3",
        "lb-1 reaches 8080 of green-1 at 198.19.0.4",
        "lb-2 reaches 8080 of blue-1 at 198.19.0.3",
        "lb-2 reaches 8080 of green-1 at 198.19.0.4",
        "blue-1 does not reach 8080 of green-1 at 198.19.0.4",
        "blue-1 does not reach 22 of lb-1 at 198.19.0.1",
        "blue-1 does not reach 22 of lb-2 at 198.19.0.2",
        "green-1 does not reach 8080 of blue-1 at 198.19.0.3",
        "green-1 does not reach 22 of lb-2 at 198.19.0.2",
        "green-1 does not reach 22 of lb-1 at 198.19.0.1",
    ]


def test_an_app_whose_firewalls_are_somebody_else_s_tries_nothing() -> None:
    assert shown(app_with(fleet={"firewalls": False})) == []


def test_a_server_is_tried_at_the_port_that_it_has_now() -> None:
    assert "lb-1 reaches 8081 of green-1 at 198.19.0.4" in shown(ports={"green-1": 8081})


def test_droplets_that_may_use_ssh_are_not_expected_to_fail() -> None:
    """Without `ssh_from` all may, and with it those whose address it covers."""
    for app in (app_with(), APP.model_copy(update={"fleet": with_network("198.19.0.0/16")})):
        assert [line for line in shown(app) if "does not reach 22" in line] == []


def with_network(network: str) -> object:
    return APP.fleet.model_copy(update={"ssh_from": [ip_network(network)]})


def test_a_droplet_that_is_off_or_has_no_address_is_not_tried() -> None:
    off, bare = droplet(3, "blue-1", status="off"), droplet(4, "green-1", private=None, public=None)
    lines = shown(fleet=FLEET.model_copy(update={"blue": (off,), "green": (bare,)}))
    assert [line for line in lines if "Airflow" in line and "lb-" not in line] == []
    assert [line for line in lines if "green-1" in line.partition("reach")[2]] == []


def test_the_largest_fleet_tries_few_ports_and_misses_no_droplet() -> None:
    blue = tuple(droplet(number, f"blue-{number}", public=None) for number in range(100, 200))
    green = tuple(droplet(number, f"green-{number}", public=None) for number in range(200, 250))
    fleet = FLEET.model_copy(update={"blue": blue, "green": green})
    trials = port_trials(APP, fleet, {})
    by_source = Counter(one.by for one in trials)
    assert max(by_source.values()) <= MOST_PORTS
    assert {count for name, count in by_source.items() if "-" in name and "lb" not in name} == {2 * NEIGHBORS}
    tried = Counter(one.target.name for one in trials if one.source in (*blue, *green) and one.port == 8080)
    assert set(tried) == {one.name for one in (*blue, *green)}
    assert set(tried.values()) == {NEIGHBORS}
