"""What DigitalOcean's API can do to a run: the right result, or one line in time, never half a fleet."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.app import Tags
from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet, Fleet
from bluegreen.hooks.digitalocean import DigitalOceanError, DigitalOceanHook
from tests.contract.conftest import TOKEN, Api
from tests.contract.description import Contract

TAG = "app:shop"


@pytest.fixture
def hook(api: Api, monkeypatch: pytest.MonkeyPatch) -> DigitalOceanHook:
    connection = {"conn_type": "http", "host": api.url, "password": TOKEN, "extra": {"ca_file": api.ca_file}}
    monkeypatch.setenv("AIRFLOW_CONN_DIGITALOCEAN", json.dumps(connection))
    return DigitalOceanHook("digitalocean")


def request_for(name: str, **changes: Any) -> dict[str, Any]:
    request = {"name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "tags": [TAG]}
    return {**request, **changes}


def test_450_droplets_come_over_three_pages(
    api: Api, hook: DigitalOceanHook, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DigitalOceanHook, "client", api.client(per_retry_policies=[contract]))
    api.account.add_phantoms(450, "web", [TAG], private=True)
    droplets = hook.droplets(TAG)
    assert len({droplet.id for droplet in droplets}) == 450
    assert contract.checked.total() == 3


def test_a_droplet_without_a_private_address_is_named_as_a_problem(api: Api, hook: DigitalOceanHook) -> None:
    api.account.add_phantoms(1, "lone", [TAG, "env:blue"], private=False)
    problems = Fleet.of(hook.droplets(TAG), Tags(app=TAG)).problems()
    assert any("no private address" in problem for problem in problems)


@pytest.mark.parametrize(
    ("fault", "expected", "transient"),
    [
        ({"status": 401}, r"refused the API token \(401\); renew it in connection 'digitalocean'", False),
        ({"status": 403}, r"refused to list droplets \(403\)", False),
        ({"status": 429}, r"rate limit is used up \(429, list droplets\); trigger a new run later", True),
        ({"status": 429, "retry_after": 3600}, r"rate limit .*again in 3600 s", False),
        ({"status": 500}, r"refused to list droplets \(500\): Unexpected", True),
        ({"kind": "html", "status": 200}, r"something that is not JSON", True),
        ({"kind": "html", "status": 502}, r"\(502\)", True),
        ({"kind": "empty", "status": 200}, r"answer without a usable 'droplets'", True),
        ({"kind": "reset"}, r"could not be reached or did not answer", True),
    ],
)
def test_each_refusal_is_one_typed_line_at_once(
    api: Api, hook: DigitalOceanHook, fault: dict[str, Any], expected: str, transient: bool
) -> None:
    api.disturb(**fault, count=10)
    with pytest.raises(DigitalOceanError, match=expected) as caught:
        hook.droplets(TAG)
    # Whoever asked is told; it is not asked again first.
    assert api.faults.active[0].count == 9
    assert caught.value.transient is transient
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_an_api_that_hangs_is_given_up(api: Api, hook: DigitalOceanHook) -> None:
    api.disturb(kind="hang")
    with pytest.raises(DigitalOceanError, match="did not answer") as caught:
        hook.droplets(TAG)
    assert caught.value.transient


@pytest.mark.parametrize("pages", [[["a", "b"], []], [["a"], ["b"], []], [["a", "b", "c", "d"]]])
def test_a_list_that_is_not_as_long_as_it_says_is_not_taken_for_the_fleet(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch, pages: list[list[str]]
) -> None:
    def operation(*, page: int, cls: Any, **_: Any) -> Any:
        answer = {"droplets": pages[page - 1], "meta": {"total": 3}}
        return cls(SimpleNamespace(http_response=SimpleNamespace(status_code=200)), answer, {})

    client = SimpleNamespace(droplets=SimpleNamespace(list=operation))
    monkeypatch.setattr(DigitalOceanHook, "client", client)
    monkeypatch.setattr(Droplet, "from_api", lambda item: item)
    with pytest.raises(DigitalOceanError, match="announced 3 and sent"):
        hook.droplets(TAG)


def test_a_creation_whose_answer_is_lost_is_reported_as_open_and_found_afterwards(
    api: Api, hook: DigitalOceanHook
) -> None:
    api.disturb(kind="reset", method="POST", path="/v2/droplets", after=True, count=1)
    with pytest.raises(DigitalOceanError) as caught:
        hook.create_droplet(request_for("web-1"))
    assert caught.value.transient
    assert [droplet.name for droplet in hook.droplets(TAG)] == ["web-1"]


def test_a_name_that_a_droplet_without_the_app_s_tag_has_is_taken(api: Api, hook: DigitalOceanHook) -> None:
    assert not hook.is_name_taken("web-1")
    hook.create_droplet(request_for("web-1", tags=["app:other"]))
    assert hook.is_name_taken("web-1")
    assert not hook.is_name_taken("web")


def test_a_creation_that_is_refused_says_why(hook: DigitalOceanHook) -> None:
    with pytest.raises(DigitalOceanError, match=r"refused to create droplet web_1 \(422\): ") as caught:
        hook.create_droplet(request_for("web_1"))
    assert not caught.value.transient


def test_a_new_droplet_has_its_tags(hook: DigitalOceanHook) -> None:
    created = hook.create_droplet(request_for("web-1"))
    assert isinstance(created, Droplet)
    assert created.tags == {TAG}


def test_ssh_keys_are_found_by_name_and_by_fingerprint(
    api: Api, hook: DigitalOceanHook, public_keys: list[str]
) -> None:
    one, two = (api.account.add_key(name, key) for name, key in zip(("one", "two"), public_keys, strict=True))
    assert hook.ssh_key_ids(["two", one.fingerprint]) == [two.id, one.id]


def test_a_missing_ssh_key_is_named_with_those_that_are_there(
    api: Api, hook: DigitalOceanHook, public_keys: list[str]
) -> None:
    api.account.add_key("one", public_keys[0])
    with pytest.raises(DigitalOceanError, match=r"not in the DigitalOcean account: nobody; there are: one"):
        hook.ssh_key_ids(["one", "nobody"])


def test_the_default_network_of_the_region_is_used_unless_one_is_named(
    api: Api, hook: DigitalOceanHook
) -> None:
    named = api.account.add_vpc("production", "nyc3", "10.9.0.0/24")
    assert hook.vpc_uuid("production", "nyc3") == named.id
    assert hook.vpc_uuid(None, "nyc3") == api.account.default_vpc("nyc3").id
    with pytest.raises(DigitalOceanError, match=r"no VPC production in region ams3; there are: "):
        hook.vpc_uuid("production", "ams3")


def test_a_connection_without_a_token_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DIGITALOCEAN", json.dumps({"conn_type": "http"}))
    with pytest.raises(BlueGreenError, match="connection 'digitalocean' has no password"):
        DigitalOceanHook("digitalocean").droplets(TAG)


def test_what_the_hook_sends_and_gets_fits_digitalocean_s_description(
    api: Api,
    hook: DigitalOceanHook,
    contract: Contract,
    public_keys: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DigitalOceanHook, "client", api.client(per_retry_policies=[contract]))
    key = api.account.add_key("one", public_keys[0])
    vpc = hook.vpc_uuid(None, "nyc3")
    ids = hook.ssh_key_ids([key.name])
    hook.create_droplet(request_for("web-1", ssh_keys=ids, vpc_uuid=vpc, user_data="#cloud-config\n"))
    hook.droplets(TAG)
    assert contract.checked.total() == 4
