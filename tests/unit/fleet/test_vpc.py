"""The private network of new droplets."""

from __future__ import annotations

import pytest

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.vpc import Vpc, choose_vpc, own_vpc_name, vpc_request
from tests.unit.facts import droplet
from tests.unit.my_app import app_with

APP = app_with(fleet={"region": "nyc3"})
DEFAULT = Vpc("1", "default-nyc3", "nyc3", is_default=True)
ELSEWHERE = Vpc("2", "default-ams3", "ams3", is_default=True)
PRODUCTION = Vpc("3", "production", "nyc3")
OWN = Vpc("4", "bluegreen-my-perl-app-nyc3", "nyc3")
ALL = [DEFAULT, ELSEWHERE, PRODUCTION, OWN]


def member(number: int, role: str, vpc: str | None) -> Droplet:
    tag = {"lb": "role:loadbalancer", "blue": "env:blue"}[role]
    return droplet(number, f"{role}-{number}", vpc=vpc, tags=frozenset({"app:my_perl_app", tag}))


def test_a_new_fleet_has_a_network_of_its_own_which_is_made_once() -> None:
    assert choose_vpc(APP, [DEFAULT, ELSEWHERE, PRODUCTION], []) is None
    assert choose_vpc(APP, ALL, []) == OWN
    assert vpc_request(APP)["name"] == own_vpc_name(APP) == OWN.name
    assert vpc_request(APP)["region"] == "nyc3"


def test_new_droplets_go_where_those_of_the_app_are() -> None:
    assert choose_vpc(APP, ALL, [member(1, "lb", "1"), member(2, "blue", "1")]) == DEFAULT
    # The proxies have to reach them; what else strayed is a finding of the dry run.
    assert choose_vpc(APP, ALL, [member(1, "lb", "3"), member(2, "blue", "1")]) == PRODUCTION
    assert choose_vpc(APP, ALL, [member(2, "blue", "3")]) == PRODUCTION
    # DigitalOcean has not placed a droplet that it is still making.
    assert choose_vpc(APP, ALL, [member(1, "lb", None)]) == OWN
    assert choose_vpc(APP, ALL, [member(1, "lb", "unlisted")]) == Vpc("unlisted", "unlisted", "nyc3")


def test_proxies_in_several_networks_need_a_decision() -> None:
    with pytest.raises(FleetError, match=r"several VPC networks \(default-nyc3, production\); name the one"):
        choose_vpc(APP, ALL, [member(1, "lb", "1"), member(2, "lb", "3")])


def test_the_setting_counts_more_than_anything_else() -> None:
    named = app_with(fleet={"region": "nyc3", "vpc": "production"})
    assert choose_vpc(named, ALL, [member(1, "lb", "1"), member(2, "lb", "3")]) == PRODUCTION
    with pytest.raises(FleetError, match=r"^no VPC production in region ams3; there are: default-ams3$"):
        choose_vpc(app_with(fleet={"region": "ams3", "vpc": "production"}), ALL, [])


def test_a_network_of_that_name_in_another_region_is_not_taken() -> None:
    with pytest.raises(FleetError, match="is in region ams3; rename it, or name another"):
        choose_vpc(APP, [DEFAULT, Vpc("5", OWN.name, "ams3")], [])
