"""Private networks: provisioning and the API agree with DigitalOcean's description."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from pydo import Client

from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.digitalocean import DigitalOceanError
from bluegreen.hooks.vpc import VpcHook
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from sandbox.api.perimeter import filter_of
from sandbox.network import Network, filter_rules
from tests.contract.conftest import Api
from tests.contract.description import Contract
from tests.contract.test_edge import ORDER as BALANCER

OWN = "bluegreen-my-perl-app-nyc3"


@pytest.fixture
def app() -> App:
    return load_app("my_perl_app")


@pytest.fixture
def hook(client: Client, monkeypatch: pytest.MonkeyPatch) -> VpcHook:
    hook = VpcHook("digitalocean")
    monkeypatch.setitem(hook.__dict__, "client", client)
    return hook


def named(api: Api, name: str = OWN) -> list[str]:
    return [one.id for one in api.account.vpcs.values() if one.name == name]


def test_an_app_s_own_network_is_made_once(api: Api, hook: VpcHook, contract: Contract, app: App) -> None:
    made = hook.vpc_for(app, [])
    assert [made.id] == named(api)
    assert hook.vpc_for(app, []) == made
    assert contract.statuses == [200, 201, 200]
    assert "bluegreen_provision__my_perl_app" in api.account.vpcs[made.id].description


def test_new_droplets_join_the_others_of_the_app(api: Api, hook: VpcHook, app: App) -> None:
    [phantom] = api.account.add_phantoms(1, "lb", ["app:my_perl_app", "role:loadbalancer"], private=True)
    there = Droplet.from_api(phantom.show())
    assert hook.vpc_for(app, [there]).id == api.account.default_vpc("nyc3").id
    assert named(api) == []


def test_an_answer_that_is_lost_leaves_one_network_that_the_next_try_finds(
    api: Api, hook: VpcHook, app: App
) -> None:
    """The request has arrived, and so has that of a provisioning that was killed after it."""
    made = api.account.add_vpc(OWN, "nyc3", "")
    assert hook.vpc_for(app, []).id == made.id
    assert len(named(api)) == 1


def test_of_two_that_make_it_at_once_one_tries_again(
    api: Api, hook: VpcHook, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = hook.vpcs()
    monkeypatch.setattr(hook, "vpcs", lambda: listed)
    api.account.add_vpc(OWN, "nyc3", "")
    with pytest.raises(
        DigitalOceanError, match=r"create VPC .* \(422\): This VPC name is already in use"
    ) as refused:
        hook.vpc_for(app, [])
    assert refused.value.transient
    assert len(named(api)) == 1


def test_a_token_without_the_right_is_named_with_its_scope(api: Api, hook: VpcHook, app: App) -> None:
    api.disturb(status=403, path="/v2/vpcs", method="POST", count=1)
    with pytest.raises(DigitalOceanError, match="the scope vpc:create, or name a network"):
        hook.vpc_for(app, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a_b"},
        {"name": ""},
        {"name": "default-nyc3"},
        {"region": "mars1"},
        {"ip_range": "10.0.0.0/8"},
        {"ip_range": "10.0.0.0/29"},
        {"ip_range": "8.8.8.0/24"},
        {"ip_range": "10.9.0.0/24"},
        {"description": "x" * 256},
    ],
    ids=str,
)
def test_what_digitalocean_refuses_is_refused(api: Api, wrong: dict[str, Any]) -> None:
    api.account.add_vpc("taken", "nyc3", "10.9.0.0/20")
    body = {"name": "mine", "region": "nyc3", **wrong}
    assert api.send("POST", "/v2/vpcs", json=body).status_code == 422
    assert named(api, "mine") == []


def test_another_network_becomes_the_default_one_and_a_balancer_is_a_member(api: Api, client: Client) -> None:
    before = api.account.default_vpc("nyc3").id
    vpc = client.vpcs.create(body={"name": "mine", "region": "nyc3"})["vpc"]["id"]
    assert client.vpcs.patch(vpc, body={"default": True})["vpc"]["default"] is True
    assert client.vpcs.get(before)["vpc"]["default"] is False
    client.load_balancers.create(body={**BALANCER, "vpc_uuid": before})
    [member] = client.vpcs.list_members(before)["members"]
    assert member["urn"].startswith("do:loadbalancer:")
    with pytest.raises(HttpResponseError, match="Can not delete VPC with members"):
        client.vpcs.delete(before)


def test_machines_of_two_networks_are_kept_apart(api: Api) -> None:
    own = api.account.add_vpc(OWN, "nyc3", "").id
    one, other, third = api.account.add_phantoms(3, "web", [], private=True)
    for droplet in (one, other, third):
        droplet.phantom = False
    assert filter_of(api.account, one) is None
    one.vpc_uuid = third.vpc_uuid = own
    apart = filter_of(api.account, one)
    assert apart is not None
    assert (apart.inbound, apart.outbound) == (None, None)
    assert set(apart.dropped) == {
        (other.public_address, one.private_address),
        (other.private_address, one.private_address),
        (other.private_address, one.public_address),
    }
    rules = filter_rules(Network(7), apart)
    assert f"-A INPUT -s {other.private_address} -d {one.private_address} -j DROP" in rules
    assert ":INPUT ACCEPT" in rules
