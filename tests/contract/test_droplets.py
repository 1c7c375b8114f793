"""Droplets and their actions: what pydo sends and gets fits DigitalOcean's description."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from pydo import Client

from tests.contract.conftest import Api
from tests.contract.description import Contract
from tests.waiting import until

ORDER = {"name": "web-1", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}


def wait_for(client: Client, droplet: int, status: str) -> dict[str, Any]:
    def shown() -> dict[str, Any]:
        found: dict[str, Any] = client.droplets.get(droplet)["droplet"]
        return found

    until(lambda: shown()["status"] == status, f"the droplet is {status}")
    return shown()


def wait_for_action(client: Client, action: int) -> str:
    def status() -> str:
        return str(client.actions.get(action)["action"]["status"])

    until(lambda: status() != "in-progress", "the action ends")
    return status()


def test_a_droplet_is_new_without_addresses_then_active(
    api: Api, client: Client, contract: Contract, public_keys: list[str]
) -> None:
    key = client.ssh_keys.create(body={"name": "one", "public_key": public_keys[0]})["ssh_key"]
    api.machines.hold.clear()
    body = {
        **ORDER,
        "ssh_keys": [key["fingerprint"]],
        "tags": ["app:shop", "env:blue"],
        "user_data": "#cloud-config\n",
    }
    answer = client.droplets.create(body=body)
    assert contract.statuses[-1] == 202
    droplet = answer["droplet"]
    assert (droplet["status"], droplet["networks"]["v4"]) == ("new", [])
    assert droplet["tags"] == ["app:shop", "env:blue"]
    (link,) = answer["links"]["actions"]
    assert link["rel"] == "create"
    assert client.actions.get(link["id"])["action"]["status"] == "in-progress"

    api.machines.hold.set()
    shown = wait_for(client, droplet["id"], "active")
    assert [network["type"] for network in shown["networks"]["v4"]] == ["public", "private"]
    assert wait_for_action(client, link["id"]) == "completed"
    order = api.machines.orders[droplet["id"]]
    assert (order.hostname, order.suite, order.user_data) == ("web-1", "bookworm", "#cloud-config\n")
    assert order.public_keys == public_keys[:1]
    assert {tag["name"] for tag in client.tags.list()["tags"]} == {"app:shop", "env:blue"}


def test_several_droplets_at_once(client: Client, contract: Contract) -> None:
    body = {key: value for key, value in ORDER.items() if key != "name"} | {"names": ["web-1", "web-2"]}
    answer = client.droplets.create(body=body)
    assert contract.statuses == [202]
    assert [droplet["name"] for droplet in answer["droplets"]] == ["web-1", "web-2"]
    assert len(answer["links"]["actions"]) == 2
    for droplet in answer["droplets"]:
        wait_for(client, droplet["id"], "active")


def test_a_droplet_that_cannot_be_made(api: Api, client: Client) -> None:
    api.machines.broken = True
    answer = client.droplets.create(body=ORDER)
    assert wait_for_action(client, answer["links"]["actions"][0]["id"]) == "errored"
    assert client.droplets.get(answer["droplet"]["id"])["droplet"]["status"] == "new"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "web_1"}, "Only valid hostname characters are allowed"),
        ({"name": ""}, "Name can't be blank"),
        ({"region": "moon1"}, "You specified an invalid region"),
        ({"size": "huge"}, "You specified an invalid size"),
        ({"image": "windows"}, "You specified an invalid image"),
        ({"image": True}, "You specified an invalid image"),
        ({"ssh_keys": [1, "aa:bb"]}, "1, aa:bb are invalid key identifiers"),
        ({"tags": ["a b"]}, "Tags can only contain"),
        ({"tags": [1]}, "Tags can only contain"),
        ({"vpc_uuid": "00000000-0000-4000-8000-000000000000"}, "Failed to resolve VPC"),
        ({"names": ["a"]}, "both name and names"),
        ({"user_data": "x" * 65537}, "User data is too large"),
    ],
)
def test_what_is_wrong_with_an_order_is_said(api: Api, change: dict[str, Any], message: str) -> None:
    answer = api.send("POST", "/v2/droplets", json=ORDER | change)
    assert answer.status_code == 422
    assert answer.json()["id"] == "unprocessable_entity"
    assert message in answer.json()["message"]
    assert api.account.droplets == {}
    assert api.account.tags == []


def test_a_vpc_of_another_region_is_refused(api: Api) -> None:
    elsewhere = api.account.default_vpc("lon1").id
    assert api.send("POST", "/v2/droplets", json=ORDER | {"vpc_uuid": elsewhere}).status_code == 422


def test_lists_are_filtered(api: Api, client: Client) -> None:
    api.account.add_phantoms(2, "web", ["env:blue"], private=True)
    api.account.add_phantoms(1, "lb", ["role:lb"], private=True)
    assert client.droplets.list()["meta"]["total"] == 3
    assert {each["name"] for each in client.droplets.list(tag_name="env:blue")["droplets"]} == {
        "web-1",
        "web-2",
    }
    api.account.add_phantoms(1, "Api", [], private=True)
    for name in ("Api-1", "aPI-1"):
        assert [each["name"] for each in client.droplets.list(name=name)["droplets"]] == ["Api-1"]
    assert client.droplets.list(tag_name="unknown")["droplets"] == []


def test_450_droplets_over_three_pages(api: Api, client: Client) -> None:
    api.account.add_phantoms(450, "web", ["many"], private=True)
    seen: set[int] = set()
    page = 1
    while True:
        answer = client.droplets.list(tag_name="many", per_page=200, page=page)
        assert answer["meta"]["total"] == 450
        seen |= {droplet["id"] for droplet in answer["droplets"]}
        if "next" not in answer["links"].get("pages", {}):
            break
        page += 1
        assert f"page={page}" in answer["links"]["pages"]["next"]
        assert "tag_name=many" in answer["links"]["pages"]["next"]
    assert (page, len(seen)) == (3, 450)
    assert client.droplets.list(page=24)["droplets"] == []
    assert len(client.droplets.list()["droplets"]) == 20


@pytest.mark.parametrize("query", ["per_page=0", "per_page=201", "per_page=x", "page=0", "page=-1"])
def test_pages_that_cannot_be(api: Api, query: str) -> None:
    assert api.send("GET", f"/v2/droplets?{query}").status_code == 422


def test_a_droplet_without_a_private_address(api: Api, client: Client) -> None:
    (droplet,) = api.account.add_phantoms(1, "web", [], private=False)
    shown = client.droplets.get(droplet.id)["droplet"]
    assert [network["type"] for network in shown["networks"]["v4"]] == ["public"]


def test_deleting(api: Api, client: Client, contract: Contract) -> None:
    for name in ("web-1", "web-2", "web-3"):
        answer = client.droplets.create(body=ORDER | {"name": name, "tags": [f"t-{name[:5]}", "t"]})
        wait_for(client, answer["droplet"]["id"], "active")
    first, *others = api.account.droplets
    contract.statuses.clear()
    client.droplets.destroy(first)
    assert client.droplets.get(first)["id"] == "not_found"
    assert (client.droplets.destroy(first) or {})["id"] == "not_found"
    client.droplets.destroy_by_tag(tag_name="t")
    assert client.droplets.list()["droplets"] == []
    assert contract.statuses == [204, 404, 404, 204, 200]
    until(lambda: set(api.machines.done) >= {("destroy", droplet) for droplet in (first, *others)})


def test_a_droplet_that_is_deleted_while_it_is_made_leaves_no_machine(api: Api, client: Client) -> None:
    api.machines.hold.clear()
    droplet = client.droplets.create(body=ORDER)["droplet"]["id"]
    client.droplets.destroy(droplet)
    api.machines.hold.set()
    until(lambda: api.machines.done[-2:] == [("create", droplet), ("destroy", droplet)])
    assert client.droplets.list()["droplets"] == []


@pytest.mark.parametrize(
    ("kind", "before", "after", "steps"),
    [
        ("power_off", "active", "off", ["power_off"]),
        ("shutdown", "active", "off", ["shutdown"]),
        ("power_on", "off", "active", ["power_on"]),
        ("reboot", "active", "active", ["reboot"]),
        ("power_cycle", "active", "active", ["power_off", "power_on"]),
    ],
)
def test_power(
    api: Api, client: Client, contract: Contract, kind: str, before: str, after: str, steps: list[str]
) -> None:
    droplet = client.droplets.create(body=ORDER)["droplet"]["id"]
    wait_for(client, droplet, "active")
    api.account.droplets[droplet].status = before
    api.machines.done.clear()
    action = client.droplet_actions.post(droplet, body={"type": kind})["action"]
    assert contract.statuses[-1] == 201
    assert wait_for_action(client, action["id"]) == "completed"
    assert client.droplets.get(droplet)["droplet"]["status"] == after
    assert [verb for verb, _ in api.machines.done] == steps
    shown = client.droplet_actions.get(droplet, action["id"])["action"]
    assert (shown["type"], shown["resource_id"], shown["region_slug"]) == (kind, droplet, "nyc3")
    assert shown["completed_at"]
    assert [each["type"] for each in client.droplet_actions.list(droplet)["actions"]] == [kind, "create"]


def test_actions_that_make_no_sense_are_refused(api: Api, client: Client) -> None:
    droplet = client.droplets.create(body=ORDER)["droplet"]["id"]
    wait_for(client, droplet, "active")
    with pytest.raises(HttpResponseError, match="already powered on"):
        client.droplet_actions.post(droplet, body={"type": "power_on"})
    assert api.send("POST", f"/v2/droplets/{droplet}/actions", json={"type": "sing"}).status_code == 422
    assert client.droplet_actions.post(1, body={"type": "reboot"})["id"] == "not_found"


def test_one_action_at_a_time(api: Api, client: Client) -> None:
    api.machines.hold.clear()
    droplet = client.droplets.create(body=ORDER)["droplet"]["id"]
    with pytest.raises(HttpResponseError, match="pending event"):
        client.droplet_actions.post(droplet, body={"type": "reboot"})


def test_a_machine_that_stops_by_itself_is_seen_to_be_off(api: Api, client: Client) -> None:
    droplet = client.droplets.create(body=ORDER)["droplet"]["id"]
    wait_for(client, droplet, "active")
    api.machines.stopped(droplet)
    wait_for(client, droplet, "off")
