"""What DigitalOcean's API can do to a run: the right result, or one line in time, never half a fleet."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pydo import Client

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet, public_addresses
from bluegreen.hooks.digitalocean import DigitalOceanError, DigitalOceanHook
from bluegreen.hooks.entry_point import EntryPointHook
from bluegreen.hooks.vpc import VpcHook
from bluegreen.settings.fleet import Tags
from tests.contract.conftest import TOKEN, Api
from tests.contract.description import Contract
from tests.waiting import until

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


def item(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "name": f"web-{number}", "status": "active", **changes}


A, B, C, D = (item(number) for number in range(1, 5))


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
    """Let DigitalOcean send these pages, and the last one again and again."""

    def operation(*, page: int, cls: Any, **_: Any) -> Any:
        answer = answers[min(page, len(answers)) - 1]
        return cls(SimpleNamespace(http_response=SimpleNamespace(status_code=200)), answer, {})

    listing = SimpleNamespace(list=operation)
    client = SimpleNamespace(droplets=listing, ssh_keys=listing, vpcs=listing)
    monkeypatch.setattr(DigitalOceanHook, "client", client)


def page_of(*items: Any, total: Any = 3) -> dict[str, Any]:
    return {"droplets": list(items), "meta": {"total": total}}


@pytest.mark.parametrize(
    "pages", [[[A, B], []], [[A], [B], []], [[A, B, C, D]]], ids=["short", "shorter", "long"]
)
def test_a_list_that_is_not_as_long_as_it_says_is_not_taken_for_the_fleet(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch, pages: list[list[Any]]
) -> None:
    answering(monkeypatch, *(page_of(*page) for page in pages))
    with pytest.raises(DigitalOceanError, match="announced 3 and sent"):
        hook.droplets(TAG)


def test_a_list_that_has_a_droplet_twice_lacks_another(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, page_of(A, B), page_of(B))
    with pytest.raises(DigitalOceanError, match=r"sent 2 twice, so the list is not complete") as caught:
        hook.droplets(TAG)
    assert caught.value.transient


def test_a_list_without_an_end_is_given_up(hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, page_of(A, total=10**9))
    with pytest.raises(DigitalOceanError, match="announced 1000000000 and sent 100;"):
        hook.droplets(TAG)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"droplets": [A]}, "without a usable 'meta'"),
        ({"droplets": [A], "meta": {}}, "without a usable 'total'"),
        ({"droplets": [A], "meta": {"total": None}}, "without a usable 'total'"),
        ({"droplets": [A], "meta": {"total": "1"}}, "without a usable 'total'"),
        ({"droplets": [A], "meta": {"total": True}}, "without a usable 'total'"),
        ({"droplets": [A], "meta": {"total": -1}}, "announced -1 and sent 1"),
        ({"droplets": {"1": A}, "meta": {"total": 1}}, "without a usable 'droplets'"),
        ([A], "without a usable 'droplets'"),
        ("droplets", "without a usable 'droplets'"),
        (page_of(None, total=1), "sent 'None' in place of one of the droplets"),
        (page_of(["web-1"], total=1), "in place of one of the droplets"),
        (page_of({}, total=1), "'id' is missing"),
        (page_of(item(1, name=None), total=1), r"of id 1 that is not usable: name: Input should be"),
        (page_of(item(1, status=None), total=1), r"of id 1, name 'web-1' that is not usable: status"),
        (page_of(item(1, tags="env:blue,app:shop", memory="much"), total=1), "memory"),
        (page_of(item(1, tags=7), total=1), "not usable"),
        (page_of(item(1, networks=["198.18.0.1"]), total=1), "not usable"),
        (page_of(item(1, networks={"v4": {"type": "public"}}), total=1), "not usable"),
        (page_of(item(1, networks={"v4": [None]}), total=1), "not usable"),
        (
            page_of(item(1, networks={"v4": [{"type": "public", "ip_address": "::1"}]}), total=1),
            "of id 1, name 'web-1' that is not usable: Expected 4 octets",
        ),
    ],
)
def test_an_answer_that_is_not_as_described_is_one_line(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch, answer: Any, says: str
) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(DigitalOceanError, match=says) as caught:
        hook.droplets(TAG)
    assert caught.value.transient
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["status", "networks", "tags", "memory"])
def test_what_a_droplet_may_lack_is_no_reason_to_give_up(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    answering(monkeypatch, page_of(item(1, **({} if missing == "status" else {missing: None})), total=1))
    [found] = hook.droplets(TAG)
    assert (found.public, found.private, found.tags, found.memory) == (None, None, frozenset(), 0)


@pytest.mark.parametrize("wrong", [{}, {"name": None}, {"name": "one", "region": None}, {"id": "x"}])
def test_keys_and_networks_that_are_not_as_described_are_one_line(
    hook: DigitalOceanHook, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    answering(monkeypatch, {"ssh_keys": [wrong], "vpcs": [wrong], "meta": {"total": 1}})
    with pytest.raises(DigitalOceanError):
        hook.ssh_key_ids(["one"])
    with pytest.raises(DigitalOceanError):
        VpcHook("digitalocean").vpcs()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"id": "x"},
        {"id": 7, "name": "shop"},
        {"id": "x", "name": None},
        {"id": "x", "name": "shop", "region": "nyc3"},
        {"id": "x", "name": "shop", "forwarding_rules": {"http": 80}},
        {"id": "x", "name": "shop", "forwarding_rules": ["http"]},
        {"id": "x", "name": "shop", "health_check": "tcp"},
    ],
    ids=str,
)
def test_a_proxy_that_is_not_as_described_is_one_line(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    def operation(*, cls: Any, **_: Any) -> Any:
        answer = {"load_balancers": [wrong], "reserved_ips": [wrong], "meta": {"total": 1}}
        return cls(SimpleNamespace(http_response=SimpleNamespace(status_code=200)), answer, {})

    listing = SimpleNamespace(list=operation)
    client = SimpleNamespace(load_balancers=listing, reserved_ips=listing)
    monkeypatch.setattr(DigitalOceanHook, "client", client)
    with pytest.raises(DigitalOceanError, match="usable"):
        EntryPointHook("digitalocean").load_balancers()
    with pytest.raises(DigitalOceanError, match="usable"):
        EntryPointHook("digitalocean").reserved_ips()


def test_a_droplet_is_reached_at_its_own_address_and_not_at_a_reserved_ip(
    api: Api, hook: DigitalOceanHook, client: Client
) -> None:
    created = hook.create_droplet(request_for("web-1"))
    until(lambda: hook.droplets(TAG)[0].public is not None, "the droplet has an address")
    [before] = hook.droplets(TAG)
    client.reserved_ips.create(body={"droplet_id": created.id})
    until(lambda: len(shown_public(client)) == 2, "the reserved IP is shown")
    assert hook.droplets(TAG) == [before]
    api.disturb(status=403, path="/v2/reserved_ips*")
    assert hook.droplets(TAG) == [before]


def shown_public(client: Client) -> list[str]:
    return public_addresses(client.droplets.list(tag_name=TAG)["droplets"][0])


@pytest.mark.parametrize("first", ["own", "reserved"])
def test_the_order_of_public_addresses_does_not_matter(first: str) -> None:
    entries = [{"type": "public", "ip_address": address} for address in ("198.18.0.1", "198.18.9.9")]
    networks = {"v6": [{"type": "public", "ip_address": "2001:db8::1"}], "v4": entries}
    if first == "reserved":
        entries.reverse()
    assert str(Droplet.from_api(item(1, networks=networks), {"198.18.9.9"}).public) == "198.18.0.1"


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
    vpc = api.account.default_vpc("nyc3").id
    ids = hook.ssh_key_ids([key.name])
    hook.create_droplet(request_for("web-1", ssh_keys=ids, vpc_uuid=vpc, user_data="#cloud-config\n"))
    hook.droplets(TAG)
    assert contract.checked.total() == 3
