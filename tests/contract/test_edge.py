"""Load balancers and reserved IPs: what pydo sends and gets fits DigitalOcean's description."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from pydo import Client

from sandbox.api.records import Droplet
from tests.contract.conftest import Api
from tests.contract.description import Contract
from tests.waiting import until

HTTP = {"entry_protocol": "http", "entry_port": 80, "target_protocol": "http", "target_port": 80}
TLS = {
    "entry_protocol": "https",
    "entry_port": 443,
    "target_protocol": "https",
    "target_port": 443,
    "tls_passthrough": True,
}
ORDER: dict[str, Any] = {"name": "front", "region": "nyc3", "tag": "web", "forwarding_rules": [HTTP]}


@pytest.fixture
def droplets(api: Api) -> list[Droplet]:
    return api.account.add_phantoms(2, "web", ["web"], private=True)


def test_a_proxy_balances_the_droplets_that_have_its_tag(
    api: Api, client: Client, contract: Contract, droplets: list[Droplet]
) -> None:
    made = client.load_balancers.create(body=ORDER)["load_balancer"]
    assert (contract.statuses[-1], made["status"], made["ip"]) == (202, "new", "")
    until(lambda: client.load_balancers.get(made["id"])["load_balancer"]["status"] == "active")
    shown = client.load_balancers.get(made["id"])["load_balancer"]
    assert shown["ip"] == "198.18.1.3"
    assert shown["droplet_ids"] == [droplet.id for droplet in droplets]
    assert shown["region"]["slug"] == "nyc3"
    assert shown["health_check"] == {
        "protocol": "http",
        "port": 80,
        "path": "/",
        "check_interval_seconds": 10,
        "response_timeout_seconds": 5,
        "unhealthy_threshold": 5,
        "healthy_threshold": 3,
    }
    assert [one["id"] for one in client.load_balancers.list()["load_balancers"]] == [made["id"]]

    addresses = {droplet.id: droplet.private_address for droplet in droplets}
    assert api.edge.balanced[made["id"]][1] == addresses
    resources = {"resources": [{"resource_id": str(droplets[0].id), "resource_type": "droplet"}]}
    client.tags.unassign_resources("web", body=resources)
    del addresses[droplets[0].id]
    until(lambda: api.edge.balanced[made["id"]][1] == addresses)
    del api.account.droplets[droplets[1].id]
    until(lambda: api.edge.balanced[made["id"]][1] == {})


def test_a_proxy_is_changed_and_removed(
    api: Api, client: Client, contract: Contract, droplets: list[Droplet]
) -> None:
    made = client.load_balancers.create(body=ORDER)["load_balancer"]
    until(lambda: made["id"] in api.edge.balanced)
    check = {"protocol": "tcp", "port": 8405, "check_interval_seconds": 3}
    changed = {**ORDER, "enable_proxy_protocol": True, "health_check": check}
    shown = client.load_balancers.update(made["id"], body=changed)["load_balancer"]
    assert (shown["enable_proxy_protocol"], shown["health_check"]["port"]) == (True, 8405)
    until(lambda: api.edge.balanced[made["id"]][0].check.interval == 3)
    client.load_balancers.add_forwarding_rules(made["id"], body={"forwarding_rules": [TLS]})
    until(lambda: [rule.mode for rule in api.edge.balanced[made["id"]][0].rules] == ["http", "tcp"])
    client.load_balancers.remove_forwarding_rules(made["id"], body={"forwarding_rules": [TLS]})

    by_id = {**changed, "tag": None, "droplet_ids": [droplets[0].id]}
    del by_id["tag"]
    client.load_balancers.update(made["id"], body=by_id)
    client.load_balancers.add_droplets(made["id"], body={"droplet_ids": [droplets[1].id]})
    client.load_balancers.remove_droplets(made["id"], body={"droplet_ids": [droplets[0].id]})
    until(lambda: list(api.edge.balanced[made["id"]][1]) == [droplets[1].id])

    contract.statuses.clear()
    client.load_balancers.delete(made["id"])
    assert client.load_balancers.get(made["id"])["id"] == "not_found"
    assert contract.statuses == [204, 404]
    until(lambda: api.edge.balanced == {})


def test_a_proxy_that_cannot_be_made_is_errored(api: Api, client: Client) -> None:
    api.edge.broken = True
    made = client.load_balancers.create(body=ORDER)["load_balancer"]
    until(lambda: client.load_balancers.get(made["id"])["load_balancer"]["status"] == "errored")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a_b"},
        {"name": ""},
        {"region": "mars1"},
        {"tag": "a b"},
        {"droplet_ids": [1]},
        {"tag": None, "droplet_ids": [1]},
        {"vpc_uuid": "x"},
        {"forwarding_rules": []},
        {"forwarding_rules": [HTTP, HTTP]},
        {"forwarding_rules": [{**HTTP, "target_port": 70000}]},
        {"forwarding_rules": [{**TLS, "tls_passthrough": False}]},
        {"health_check": {"check_interval_seconds": 1}},
        {"health_check": {"path": "/ x"}},
        {"health_check": {"protocol": "smtp"}},
        {"sticky_sessions": {"type": "cookies"}},
        {"http_idle_timeout_seconds": 5},
    ],
)
def test_a_proxy_that_makes_no_sense_is_refused(api: Api, changes: dict[str, Any]) -> None:
    answer = api.send("POST", "/v2/load_balancers", json={**ORDER, **changes})
    assert (answer.status_code, answer.json()["id"]) == (422, "unprocessable_entity")
    assert api.account.load_balancers == {}


def test_a_reserved_ip_is_led_from_one_droplet_to_another(
    api: Api, client: Client, contract: Contract, droplets: list[Droplet]
) -> None:
    first, second = (droplet.id for droplet in droplets)
    made = client.reserved_ips.create(body={"droplet_id": first})
    ip = made["reserved_ip"]["ip"]
    assert contract.statuses[-1] == 202
    assert [each["id"] for each in made["links"]["droplets"]] == [first]
    until(lambda: client.reserved_ips.get(ip)["reserved_ip"]["droplet"])
    assert client.reserved_ips.get(ip)["reserved_ip"]["droplet"]["id"] == first

    action = client.reserved_ips_actions.post(ip, body={"type": "assign", "droplet_id": second})["action"]
    assert (contract.statuses[-1], action["type"], action["resource_type"]) == (
        201,
        "assign_ip",
        "reserved_ip",
    )
    until(lambda: client.reserved_ips_actions.get(ip, action["id"])["action"]["status"] == "completed")
    assert client.actions.get(action["id"])["action"]["status"] == "completed"
    assert api.edge.held == {ip: second}
    assert client.reserved_ips.list()["reserved_ips"][0]["droplet"]["id"] == second

    client.reserved_ips_actions.post(ip, body={"type": "unassign"})
    until(lambda: api.edge.held == {ip: None})
    until(lambda: not client.reserved_ips.get(ip)["reserved_ip"]["locked"])
    kinds = [each["type"] for each in client.reserved_ips_actions.list(ip)["actions"]]
    assert kinds == ["unassign_ip", "assign_ip", "assign_ip"]
    client.reserved_ips.delete(ip)
    assert client.reserved_ips.get(ip)["id"] == "not_found"
    until(lambda: api.edge.held == {})


def test_a_reserved_ip_of_a_droplet_that_is_destroyed_leads_nowhere(
    api: Api, client: Client, droplets: list[Droplet]
) -> None:
    ip = client.reserved_ips.create(body={"droplet_id": droplets[0].id})["reserved_ip"]["ip"]
    until(lambda: api.edge.held[ip])
    client.droplets.destroy(droplets[0].id)
    assert client.reserved_ips.get(ip)["reserved_ip"]["droplet"] is None


def test_an_assignment_that_does_not_work_is_errored_and_changes_nothing(
    api: Api, client: Client, droplets: list[Droplet]
) -> None:
    ip = client.reserved_ips.create(body={"region": "nyc3"})["reserved_ip"]["ip"]
    api.edge.broken = True
    body = {"type": "assign", "droplet_id": droplets[0].id}
    action = client.reserved_ips_actions.post(ip, body=body)["action"]
    until(lambda: client.actions.get(action["id"])["action"]["status"] == "errored")
    assert client.reserved_ips.get(ip)["reserved_ip"]["droplet"] is None


def test_reserved_ips_are_limited_and_a_droplet_has_one_at_most(
    api: Api, client: Client, droplets: list[Droplet]
) -> None:
    ip = client.reserved_ips.create(body={"droplet_id": droplets[0].id})["reserved_ip"]["ip"]
    until(lambda: client.reserved_ips.get(ip)["reserved_ip"]["droplet"])
    with pytest.raises(HttpResponseError, match="already has a Reserved IP"):
        client.reserved_ips.create(body={"droplet_id": droplets[0].id})
    for body in ({"region": "nyc3"}, {"droplet_id": droplets[1].id}):
        api.send("POST", "/v2/reserved_ips", json=body)
    with pytest.raises(HttpResponseError, match="limit of Reserved IPs"):
        client.reserved_ips.create(body={"region": "nyc3"})


@pytest.mark.parametrize(
    "body", [{}, {"region": "mars1"}, {"droplet_id": 1}, {"droplet_id": 1, "region": "nyc3"}]
)
def test_a_reservation_that_makes_no_sense_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert api.send("POST", "/v2/reserved_ips", json=body).status_code == 422
    assert api.account.reserved_ips == {}


@pytest.mark.parametrize("path", ["/v2/load_balancers", "/v2/reserved_ips"])
def test_the_usual_refusals_and_faults_hold_here_too(api: Api, path: str) -> None:
    assert api.send("GET", path, token="wrong").status_code == 401
    assert api.send("PATCH", path).headers["Allow"] == "GET, POST"
    api.disturb(status=429, retry_after=7, path=f"{path}*", count=1)
    assert api.send("GET", path).headers["Retry-After"] == "7"
    assert api.send("GET", f"{path}?per_page=201").status_code == 422
    assert "ratelimit-remaining" in api.send("GET", path).headers
