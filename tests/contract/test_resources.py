"""Account, catalog, keys, tags and VPCs: what pydo sends and gets fits DigitalOcean's description."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError
from pydo import Client

from tests.contract.conftest import Api
from tests.contract.description import Contract


def test_account_and_catalog(client: Client, contract: Contract) -> None:
    assert client.account.get()["account"]["status"] == "active"
    assert "nyc3" in {region["slug"] for region in client.regions.list()["regions"]}
    assert "s-1vcpu-1gb" in {size["slug"] for size in client.sizes.list()["sizes"]}
    images = client.images.list(type="distribution")["images"]
    assert {"debian-12-x64", "debian-13-x64"} == {image["slug"] for image in images}
    assert client.images.get(images[0]["id"])["image"] == images[0]
    assert client.firewalls.list()["firewalls"] == []
    assert contract.statuses == [200] * 6
    assert contract.headers[-1]["ratelimit-limit"] == "5000"
    assert contract.headers[-1]["ratelimit-remaining"] == str(5000 - 6)


def test_keys(client: Client, contract: Contract, public_keys: list[str]) -> None:
    key = client.ssh_keys.create(body={"name": "one", "public_key": public_keys[0]})["ssh_key"]
    assert key["public_key"] == public_keys[0]
    assert len(key["fingerprint"].split(":")) == 16
    assert client.ssh_keys.get(key["id"])["ssh_key"] == key
    assert client.ssh_keys.get(key["fingerprint"])["ssh_key"] == key
    assert client.ssh_keys.update(key["id"], body={"name": "two"})["ssh_key"]["name"] == "two"
    assert [each["name"] for each in client.ssh_keys.list()["ssh_keys"]] == ["two"]
    client.ssh_keys.delete(key["id"])
    assert client.ssh_keys.get(key["id"]) == {
        "id": "not_found",
        "message": "The resource you requested could not be found.",
    }
    assert contract.statuses == [201, 200, 200, 200, 200, 204, 404]


def test_a_key_twice_or_none_at_all_is_refused(api: Api, client: Client, public_keys: list[str]) -> None:
    client.ssh_keys.create(body={"name": "one", "public_key": public_keys[0]})
    with pytest.raises(HttpResponseError, match="SSH Key is already in use on your account"):
        client.ssh_keys.create(body={"name": "other", "public_key": public_keys[0]})
    with pytest.raises(HttpResponseError, match="Key invalid"):
        client.ssh_keys.create(body={"name": "other", "public_key": "ssh-ed25519 nonsense"})
    assert api.send("POST", "/v2/account/keys", json={"name": "x"}).status_code == 422


def test_tags(api: Api, client: Client, contract: Contract) -> None:
    assert client.tags.create(body={"name": "env:blue"})["tag"]["name"] == "env:blue"
    (droplet,) = api.account.add_phantoms(1, "web", [], private=True)
    resources = {"resources": [{"resource_id": str(droplet.id), "resource_type": "droplet"}]}
    client.tags.assign_resources("env:blue", body=resources)
    tag = client.tags.get("env:blue")["tag"]
    assert tag["resources"]["droplets"]["count"] == 1
    assert tag["resources"]["droplets"]["last_tagged_uri"].endswith(f"/v2/droplets/{droplet.id}")
    assert client.droplets.get(droplet.id)["droplet"]["tags"] == ["env:blue"]
    client.tags.unassign_resources("env:blue", body=resources)
    assert client.droplets.get(droplet.id)["droplet"]["tags"] == []
    client.tags.assign_resources("env:blue", body=resources)
    client.tags.delete("env:blue")
    assert client.droplets.get(droplet.id)["droplet"]["tags"] == []
    assert client.tags.list()["tags"] == []
    assert contract.statuses == [201, 204, 200, 200, 204, 200, 204, 204, 200, 200]


def test_unknown_tags_and_resources(client: Client, contract: Contract) -> None:
    client.tags.create(body={"name": "known"})
    resources = {"resources": [{"resource_id": "1", "resource_type": "droplet"}]}
    for tag in ("known", "unknown"):
        answer = client.tags.assign_resources(tag, body=resources)
        assert answer
        assert answer["id"] == "not_found"
    assert client.tags.get("unknown")["id"] == "not_found"
    assert contract.statuses[1:] == [404, 404, 404]


@pytest.mark.parametrize("name", ["a b", "a/b", "é", "x" * 256, "a.b"])
def test_a_tag_of_other_characters_is_refused(api: Api, name: str) -> None:
    assert api.send("POST", "/v2/tags", json={"name": name}).status_code == 422


def test_vpcs(api: Api, client: Client, contract: Contract) -> None:
    defaults = [vpc for vpc in client.vpcs.list(per_page=200)["vpcs"] if vpc["region"] == "nyc3"]
    assert [vpc["default"] for vpc in defaults] == [True]
    vpc = client.vpcs.create(body={"name": "mine", "region": "nyc3", "ip_range": "10.1.0.0/20"})["vpc"]
    assert vpc["default"] is False
    assert client.vpcs.get(vpc["id"])["vpc"] == vpc
    assert client.vpcs.update(vpc["id"], body={"name": "ours"})["vpc"]["name"] == "ours"
    (droplet,) = api.account.add_phantoms(1, "web", [], private=True)
    droplet.vpc_uuid = vpc["id"]
    assert [member["name"] for member in client.vpcs.list_members(vpc["id"])["members"]] == ["web-1"]
    with pytest.raises(HttpResponseError, match="Can not delete VPC with members"):
        client.vpcs.delete(vpc["id"])
    del api.account.droplets[droplet.id]
    client.vpcs.delete(vpc["id"])
    with pytest.raises(HttpResponseError, match="Can not delete default VPCs"):
        client.vpcs.delete(defaults[0]["id"])
    assert client.vpcs.get(vpc["id"])["id"] == "not_found"
    assert contract.statuses == [200, 201, 200, 200, 200, 403, 204, 403, 404]
