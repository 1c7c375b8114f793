"""What provisioning puts in front of the load balancers, whatever the account already has there."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from pydo import Client

from bluegreen.hooks.digitalocean import DigitalOceanHook
from bluegreen.operators import entry_point
from bluegreen.operators.entry_point import EntryPointOperator
from bluegreen.settings.app_files import REFERENCE
from sandbox.api.records import Droplet
from tests.contract.conftest import TOKEN, Api
from tests.contract.description import Contract
from tests.contract.test_edge import ORDER
from tests.waiting import until

APP = "shop"
TAG = "app:shop:lb"
Provision = Callable[..., dict[str, str]]


class TaskInstance:
    """Keeps what a task pushes."""

    task_id = "entry_point"

    def __init__(self) -> None:
        self.said = ""

    def xcom_push(self, key: str, value: str) -> None:
        self.said = value


@pytest.fixture
def fleet(api: Api) -> dict[str, Droplet]:
    """Two load balancers and a droplet of each color, and a load balancer of another app."""
    made = {}
    for name, tags in (
        ("lb", ["app:shop", "role:loadbalancer"]),
        ("other-lb", ["app:other", "role:loadbalancer"]),
        ("blue", ["app:shop", "env:blue"]),
        ("green", ["app:shop", "env:green"]),
    ):
        for droplet in api.account.add_phantoms(2 if name == "lb" else 1, name, tags, private=True):
            made[droplet.name] = droplet
    return made


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The load balancers that take traffic."""
    names = {"lb-1", "lb-2"}
    monkeypatch.setattr(EntryPointOperator, "_answers", lambda _, droplet: droplet.name in names)
    return names


@pytest.fixture
def provision(
    api: Api,
    contract: Contract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fleet: dict[str, Droplet],
    answering: set[str],
) -> Provision:
    """Return what runs the task with a choice of entry point, over a pydo that is held to the description."""
    connection = {"conn_type": "http", "host": api.url, "password": TOKEN, "extra": {"ca_file": api.ca_file}}
    monkeypatch.setenv("AIRFLOW_CONN_DIGITALOCEAN", json.dumps(connection))
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    monkeypatch.setattr(entry_point, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(DigitalOceanHook, "client", api.client(per_retry_policies=[contract]))
    settings = yaml.safe_load(REFERENCE.read_text())

    def run(kind: str, *, certificate: str | None = None) -> dict[str, str]:
        settings["fleet"] |= {"entry_point": kind, "tags": {"app": "app:shop"}}
        settings["traffic"]["tls"] = certificate and {
            "certificates": [{"path": certificate}],
            "redirect": False,
        }
        settings["timeouts"] = {"boot": 10}
        (tmp_path / f"{APP}.yaml").write_text(yaml.safe_dump(settings))
        task = EntryPointOperator(task_id="entry_point", app_id=APP)
        answer: dict[str, str] = task.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]
        return answer

    return run


@pytest.fixture
def account(api: Api) -> Client:
    """What a person does to the account."""
    return api.client()


def only_balancer(api: Api) -> Any:
    (balancer,) = api.account.load_balancers.values()
    return balancer


def test_without_anything_in_front_clients_are_sent_to_the_proxies(
    api: Api, provision: Provision, fleet: dict[str, Droplet]
) -> None:
    both = f"{fleet['lb-1'].public_address}, {fleet['lb-2'].public_address}"
    assert provision("droplet") == {"kind": "droplet", "address": both}
    assert api.account.load_balancers == {}
    assert api.account.reserved_ips == {}


def test_a_managed_load_balancer_is_created_once_for_this_apps_load_balancers_only(
    api: Api, provision: Provision, fleet: dict[str, Droplet]
) -> None:
    first = provision("managed_load_balancer")
    assert first == {"kind": "managed_load_balancer", "address": "198.18.1.3"}
    assert provision("managed_load_balancer") == first
    balancer = only_balancer(api)
    assert (balancer.name, balancer.tag) == ("shop", TAG)
    assert [one.name for one in api.account.targets(balancer)] == ["lb-1", "lb-2"]
    asked = balancer.balancing()
    assert [(rule.mode, rule.entry_port, rule.target_port) for rule in asked.rules] == [("http", 80, 80)]
    assert (asked.check.port, asked.check.path, asked.proxy_protocol) == (8405, "/monitor", True)


def test_tls_passes_through_to_a_certificate_of_haproxys(api: Api, provision: Provision) -> None:
    provision("managed_load_balancer", certificate="/etc/ssl/private/shop.pem")
    assert [(rule.mode, rule.entry_port) for rule in only_balancer(api).balancing().rules] == [
        ("http", 80),
        ("tcp", 443),
    ]


def test_a_proxy_that_balances_the_tag_is_adopted_and_keeps_what_was_set_by_hand(
    api: Api, provision: Provision, account: Client
) -> None:
    smtp = {"entry_protocol": "tcp", "entry_port": 25, "target_protocol": "tcp", "target_port": 2525}
    order = {**ORDER, "tag": TAG, "forwarding_rules": [smtp], "http_idle_timeout_seconds": 300}
    identifier = account.load_balancers.create(body=order)["load_balancer"]["id"]
    provision("managed_load_balancer")
    balancer = only_balancer(api)
    assert (balancer.id, balancer.name) == (identifier, "front")
    assert [rule.entry_port for rule in balancer.balancing().rules] == [25, 80]
    assert (balancer.balancing().check.port, balancer.balancing().idle_timeout) == (8405, 300)


def test_a_creation_whose_answer_is_lost_is_found_by_the_next_attempt(api: Api, provision: Provision) -> None:
    api.disturb(kind="reset", method="POST", path="/v2/load_balancers", after=True, count=1)
    with pytest.raises(AirflowException) as raised:
        provision("managed_load_balancer")
    assert not isinstance(raised.value, AirflowFailException)
    provision("managed_load_balancer")
    assert len(api.account.load_balancers) == 1


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        ([{"tag": TAG}, {"tag": TAG, "name": "second"}], "several load balancers .* front .*second .*delete"),
        ([{"name": "shop"}], "one named shop that does not balance the tag app:shop:lb"),
        ([{"tag": TAG, "region": "ams3"}], "front is in region ams3"),
    ],
)
def test_a_proxy_that_cannot_be_this_apps_is_named_and_no_other_made(
    api: Api, provision: Provision, account: Client, existing: list[dict[str, Any]], said: str
) -> None:
    for changes in existing:
        account.load_balancers.create(body={**ORDER, **changes})
    with pytest.raises(AirflowFailException, match=said):
        provision("managed_load_balancer")
    assert len(api.account.load_balancers) == len(existing)


def test_a_stranger_with_the_tag_would_get_traffic_and_is_refused(
    api: Api, provision: Provision, fleet: dict[str, Droplet]
) -> None:
    fleet["blue-1"].tags.append(TAG)
    with pytest.raises(
        AirflowFailException, match=r"blue-1 would get this app's traffic: the tag app:shop:lb"
    ):
        provision("managed_load_balancer")
    assert api.account.load_balancers == {}


def test_a_proxy_that_cannot_be_made_or_is_not_ready_is_not_waited_for_in_vain(
    api: Api, provision: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.edge.broken = True
    with pytest.raises(AirflowFailException, match="could not make load balancer shop; delete it"):
        provision("managed_load_balancer")
    only_balancer(api).status = "new"
    hurried = SimpleNamespace(monotonic=itertools.count(0, 6).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr("bluegreen.polling.time", hurried)
    with pytest.raises(AirflowFailException, match=r"is not active, or has no address \(waited 10 s\)"):
        provision("managed_load_balancer")


def test_a_reserved_ip_is_made_once_and_stays(
    api: Api, provision: Provision, fleet: dict[str, Droplet], answering: set[str]
) -> None:
    answering.discard("lb-1")
    first = provision("reserved_ip")
    assert first["kind"] == "reserved_ip"
    address = first["address"]
    assert api.edge.held == {address: fleet["lb-2"].id}
    answering.add("lb-1")
    assert provision("reserved_ip") == first
    assert api.edge.held == {address: fleet["lb-2"].id}
    assert all("reserved-ip:198-18-1-251" in fleet[name].tags for name in ("lb-1", "blue-1", "green-1"))


def test_before_the_first_deploy_a_reserved_ip_leads_to_a_proxy_that_takes_no_traffic_yet(
    api: Api, provision: Provision, fleet: dict[str, Droplet], answering: set[str]
) -> None:
    answering.clear()
    fleet["lb-1"].status = "new"
    assert api.edge.held == {}
    address = provision("reserved_ip")["address"]
    assert api.edge.held == {address: fleet["lb-2"].id}


@pytest.mark.parametrize("how", ["off", "deaf", "destroyed"])
def test_a_reserved_ip_leaves_a_proxy_that_is_gone(
    api: Api, provision: Provision, fleet: dict[str, Droplet], answering: set[str], how: str
) -> None:
    address = provision("reserved_ip")["address"]
    assert api.edge.held == {address: fleet["lb-1"].id}
    if how == "off":
        fleet["lb-1"].status = "off"
    elif how == "deaf":
        answering.discard("lb-1")
    else:
        del api.account.droplets[fleet["lb-1"].id]
    assert provision("reserved_ip")["address"] == address
    assert api.edge.held == {address: fleet["lb-2"].id}


def test_a_reserved_ip_that_is_on_its_way_is_waited_for_and_no_second_one_made(
    api: Api, provision: Provision, fleet: dict[str, Droplet], account: Client
) -> None:
    ip = account.reserved_ips.create(body={"droplet_id": fleet["lb-1"].id})["reserved_ip"]["ip"]
    record = api.account.reserved_ips[ip]
    until(lambda: not record.locked)
    record.locked, record.droplet = True, None

    def arrive() -> None:
        record.locked, record.droplet = False, fleet["lb-1"].id

    api.loop.call_soon_threadsafe(api.loop.call_later, 0.5, arrive)
    started = time.monotonic()
    assert provision("reserved_ip")["address"] == ip
    assert time.monotonic() - started >= 0.4
    assert list(api.account.reserved_ips) == [ip]


def test_a_reserved_ip_that_was_given_away_or_back_is_named_and_no_other_made(
    api: Api, provision: Provision, fleet: dict[str, Droplet], account: Client
) -> None:
    ip = provision("reserved_ip")["address"]
    body = {"type": "assign", "droplet_id": fleet["other-lb-1"].id}
    account.reserved_ips_actions.post(ip, body=body)
    until(lambda: api.edge.held[ip] == fleet["other-lb-1"].id)
    with pytest.raises(
        AirflowFailException, match=rf"{ip} is assigned to droplet .* not this app's; unassign"
    ):
        provision("reserved_ip")
    until(lambda: not api.account.reserved_ips[ip].locked)
    account.reserved_ips.delete(ip)
    with pytest.raises(AirflowFailException, match=rf"{ip} is not in the account any more; remove the tag"):
        provision("reserved_ip")
    assert api.account.reserved_ips == {}


def test_two_reserved_ips_are_one_too_many(
    api: Api, provision: Provision, fleet: dict[str, Droplet], account: Client
) -> None:
    for name in ("lb-1", "lb-2"):
        account.reserved_ips.create(body={"droplet_id": fleet[name].id})
    until(lambda: all(one.droplet for one in api.account.reserved_ips.values()))
    with pytest.raises(
        AirflowFailException, match=r"several reserved IPs: 198.18.1.251, 198.18.1.252; release"
    ):
        provision("reserved_ip")


def test_an_api_that_fails_for_a_moment_is_asked_again(api: Api, provision: Provision) -> None:
    api.disturb(status=500, path="/v2/load_balancers/*", method="GET", count=2)
    assert provision("managed_load_balancer")["address"] == "198.18.1.3"
