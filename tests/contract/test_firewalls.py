"""Cloud Firewalls: provisioning and the API agree with DigitalOcean's description."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from pydo import Client

from bluegreen.errors import FleetError
from bluegreen.hooks.digitalocean import DigitalOceanError
from bluegreen.hooks.firewalls import FirewallsHook
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from sandbox.api.hypervisor import Filter, Let
from sandbox.api.records import Droplet
from tests.contract.conftest import Api
from tests.contract.description import Contract

OUT = [{"protocol": "tcp", "ports": "0", "destinations": {"addresses": ["0.0.0.0/0"]}}]
SSH = {"protocol": "tcp", "ports": "22", "sources": {"addresses": ["203.0.113.7"]}}
ORDER: dict[str, Any] = {"name": "wall", "inbound_rules": [SSH], "outbound_rules": OUT, "tags": ["web"]}
PROXIES, SERVERS = "app:my_perl_app:proxy", "app:my_perl_app:server"


@pytest.fixture
def app() -> App:
    one = load_app("my_perl_app")
    fleet = one.fleet.model_copy(update={"ssh_from": [ip_network("203.0.113.7")]})
    return one.model_copy(update={"fleet": fleet})


@pytest.fixture
def fleet(api: Api) -> dict[str, Droplet]:
    """Return an app's droplets, and a proxy of another app with which it shares the tag of proxies."""
    made = {}
    for name, tags in (
        ("lb", ["app:my_perl_app", "role:loadbalancer"]),
        ("blue", ["app:my_perl_app", "env:blue"]),
        ("other-lb", ["app:other", "role:loadbalancer"]),
    ):
        [made[name]] = api.account.add_phantoms(1, name, tags, private=True)
    # The sandbox tells machines, not phantoms.
    for one in made.values():
        one.phantom = False
    return made


@pytest.fixture
def hook(client: Client, monkeypatch: pytest.MonkeyPatch) -> FirewallsHook:
    hook = FirewallsHook("digitalocean")
    monkeypatch.setitem(hook.__dict__, "client", client)
    return hook


def test_firewalls_are_made_once_and_droplets_put_behind_them(
    api: Api, hook: FirewallsHook, contract: Contract, app: App, fleet: dict[str, Droplet]
) -> None:
    assert hook.put_up(app) == [
        "firewall bluegreen-my-perl-app-proxies created",
        "lb-1 put behind bluegreen-my-perl-app-proxies",
        "firewall bluegreen-my-perl-app-servers created",
        "blue-1 put behind bluegreen-my-perl-app-servers",
    ]
    assert PROXIES in fleet["lb"].tags
    assert SERVERS in fleet["blue"].tags
    assert len(fleet["other-lb"].tags) == 2
    contract.statuses.clear()
    assert hook.put_up(app) == []
    # Nothing is sent but questions.
    assert set(contract.statuses) == {200}


def test_the_sandbox_lets_in_what_the_rules_say_and_nothing_else(
    api: Api, hook: FirewallsHook, app: App, fleet: dict[str, Droplet]
) -> None:
    hook.put_up(app)
    airflow = Let("tcp", "22", ("203.0.113.7/32",))
    proxy = fleet["lb"]
    out = tuple(Let(protocol, "0", ("0.0.0.0/0",)) for protocol in ("tcp", "udp", "icmp"))
    addresses = tuple(sorted(str(one) for one in (proxy.public_address, proxy.private_address)))
    servers = api.machines.filters[fleet["blue"].id]
    assert servers == Filter((Let("tcp", "1024-65535", addresses), airflow), out)
    proxies = api.machines.filters[proxy.id]
    assert proxies is not None
    assert proxies.inbound is not None
    assert {(let.ports, let.addresses) for let in proxies.inbound} == {
        ("22", ("203.0.113.7/32",)),
        ("80", ("0.0.0.0/0",)),
        ("443", ("0.0.0.0/0",)),
    }
    assert fleet["other-lb"].id not in api.machines.filters


def test_rules_that_were_changed_by_hand_are_corrected_and_others_left_alone(
    client: Client, hook: FirewallsHook, app: App, fleet: dict[str, Droplet]
) -> None:
    hook.put_up(app)
    [mine] = [one for one in hook.firewalls() if one["name"].endswith("-servers")]
    written = {key: mine[key] for key in ("name", "outbound_rules", "tags", "droplet_ids")}
    opened = {**written, "inbound_rules": [*mine["inbound_rules"], {**SSH, "ports": "9100"}]}
    client.firewalls.update(mine["id"], body=opened)
    theirs = client.firewalls.create(body={**ORDER, "tags": ["env:blue"]})["firewall"]["id"]
    assert hook.put_up(app) == ["firewall bluegreen-my-perl-app-servers changed"]
    after = {one["id"]: one["inbound_rules"] for one in hook.firewalls()}
    assert after[mine["id"]] == mine["inbound_rules"]
    assert after[theirs] == [SSH]


def test_a_firewall_of_that_name_for_something_else_stops_it_before_anything_is_changed(
    api: Api, client: Client, hook: FirewallsHook, app: App, fleet: dict[str, Droplet]
) -> None:
    client.tags.create(body={"name": "web"})
    client.firewalls.create(body={**ORDER, "name": "bluegreen-my-perl-app-servers"})
    with pytest.raises(FleetError, match="is for the tag web instead of app:my_perl_app:server"):
        hook.put_up(app)
    assert len(hook.firewalls()) == 1
    assert PROXIES not in fleet["lb"].tags


def test_a_droplet_of_another_app_with_the_tag_is_named(
    api: Api, hook: FirewallsHook, app: App, fleet: dict[str, Droplet]
) -> None:
    fleet["other-lb"].tags.append(api.account.add_tag(PROXIES))
    with pytest.raises(FleetError, match="other-lb-1 carries the tag app:my_perl_app:proxy and is not"):
        hook.put_up(app)


@pytest.mark.parametrize(("method", "scope"), [("GET", "read"), ("POST", "create")])
def test_a_token_that_may_not_is_told_which_scope_it_lacks(
    api: Api, hook: FirewallsHook, app: App, fleet: dict[str, Droplet], method: str, scope: str
) -> None:
    api.disturb(method=method, path="/v2/firewalls", status=403)
    with pytest.raises(DigitalOceanError, match=f"the scope firewall:{scope}, or set fleet.firewalls to"):
        hook.put_up(app)


def test_a_firewall_of_the_api(api: Api, client: Client, contract: Contract) -> None:
    [droplet] = api.account.add_phantoms(1, "web", ["web"], private=True)
    made = client.firewalls.create(body=ORDER)["firewall"]
    assert (contract.statuses[-1], made["status"], made["pending_changes"]) == (202, "waiting", [])
    shown = client.firewalls.get(made["id"])["firewall"]
    assert (shown["status"], shown["tags"], shown["inbound_rules"]) == ("succeeded", ["web"], [SSH])
    assert [one["id"] for one in client.droplets.list_firewalls(droplet.id)["firewalls"]] == [made["id"]]
    client.firewalls.update(made["id"], body={**ORDER, "name": "other", "tags": []})
    assert client.droplets.list_firewalls(droplet.id)["firewalls"] == []
    client.firewalls.delete(made["id"])
    assert client.firewalls.get(made["id"])["id"] == "not_found"
    assert client.firewalls.list()["firewalls"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "under_score"},
        {"tags": ["unknown"]},
        {"droplet_ids": [1]},
        {"inbound_rules": [], "outbound_rules": []},
        {"inbound_rules": [{**SSH, "protocol": "sctp"}]},
        {"inbound_rules": [{**SSH, "ports": "70000"}]},
        {"inbound_rules": [{**SSH, "sources": {}}]},
        {"inbound_rules": [{**SSH, "sources": {"addresses": ["nowhere"]}}]},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(api: Api, change: dict[str, Any]) -> None:
    api.account.add_tag("web")
    assert api.send("POST", "/v2/firewalls", json={**ORDER, **change}).status_code == 422


def test_a_name_is_taken_once(api: Api, client: Client) -> None:
    api.account.add_tag("web")
    client.firewalls.create(body=ORDER)
    with pytest.raises(HttpResponseError, match="duplicate name"):
        client.firewalls.create(body=ORDER)
