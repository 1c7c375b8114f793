"""Challenges that DigitalOcean's DNS answers: records come, are answered, and go, whatever happens meanwhile.

The description that the other tests of this folder use has no domains; pydo's own documentation has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from bluegreen.errors import BlueGreenError
from bluegreen.hooks import dns_challenge
from bluegreen.hooks.digitalocean import DigitalOceanError
from bluegreen.hooks.dns_challenge import DnsChallengeHook
from bluegreen.settings.app_file import load_app
from bluegreen.settings.tls import AcmeSettings, ChallengeKind
from bluegreen.traffic import dns_challenge as traffic_dns
from bluegreen.traffic.acme import AcmeError, new_key, order
from bluegreen.traffic.dns_challenge import DnsChallengeError
from sandbox import dns_server
from sandbox.api.domain_records import Domain
from tests.contract.conftest import Api
from tests.pebble import Pebble, pebble
from tests.unit.renewals import Variables

NAME, WWW = "_acme-challenge.example.com", "_acme-challenge.www.example.com"
NOTED = "bluegreen_acme_challenges__my_perl_app"


@pytest.fixture
def zone(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    """A domain whose name server answers."""
    api.account._name_server = "127.0.0.1"
    serving = dns_server.serve(api.account, "127.0.0.1", port=0)
    transport = asyncio.run_coroutine_threadsafe(serving, api.loop).result(10)
    assert transport is not None
    monkeypatch.setattr(traffic_dns, "PORT", transport.get_extra_info("sockname")[1])
    monkeypatch.setattr(dns_challenge, "POLL_SECONDS", 0.05)
    api.account.add_domain("com-is-none.org")
    yield api.account.add_domain("example.com")
    api.loop.call_soon_threadsafe(transport.close)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    variables = Variables()
    monkeypatch.setattr(dns_challenge, "Variable", variables)
    return variables


@pytest.fixture
def hook(api: Api, variables: Variables, monkeypatch: pytest.MonkeyPatch) -> DnsChallengeHook:
    hook = DnsChallengeHook(load_app("my_perl_app"), lambda: None)
    monkeypatch.setitem(hook.__dict__, "client", api.client())
    return hook


@pytest.fixture
def authority(zone: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An authority that asks the zone's name server."""
    directory = tmp_path_factory.mktemp("pebble")
    with pebble(directory, "127.0.0.1", name_server=f"127.0.0.1:{traffic_dns.PORT}") as running:
        yield running


def values(zone: Domain, name: str = NAME) -> set[str]:
    return {one.data for one in zone.answers(name, "TXT")}


def test_records_are_answered_during_an_order_and_removed_afterwards(
    hook: DnsChallengeHook, zone: Domain, variables: Variables
) -> None:
    with hook.published([(NAME, "one"), (NAME, "two"), (WWW, "three")]):
        assert values(zone) == {"one", "two"}
        assert values(zone, WWW) == {"three"}
        assert {one.ttl for one in zone.answers(NAME, "TXT")} == {30}
    assert values(zone) == values(zone, WWW) == set()
    assert NOTED not in variables


def test_they_are_removed_if_the_order_fails(hook: DnsChallengeHook, zone: Domain) -> None:
    with pytest.raises(AcmeError, match="refused"), hook.published([(NAME, "one")]):
        raise AcmeError("refused")
    assert values(zone) == set()


def test_what_a_killed_run_has_left_is_removed_and_nothing_else(
    api: Api, hook: DnsChallengeHook, zone: Domain, variables: Variables
) -> None:
    variables[NOTED] = json.dumps([["example.com", NAME, "left"], ["example.com", WWW, "never made"]])
    for value in ("left", "of somebody else"):
        api.account.add_record(zone, "TXT", "_acme-challenge", value)
    with hook.published([(NAME, "new")]):
        assert values(zone) == {"of somebody else", "new"}
        assert json.loads(variables[NOTED]) == [["example.com", NAME, "new"]]
    assert values(zone) == {"of somebody else"}


def test_a_record_that_cannot_be_removed_is_removed_by_the_next_run(
    api: Api, hook: DnsChallengeHook, zone: Domain, variables: Variables
) -> None:
    with hook.published([(NAME, "one")]):
        api.disturb(status=503, method="DELETE", path="/v2/domains/*", count=1)
    assert values(zone) == {"one"}
    assert json.loads(variables[NOTED]) == [["example.com", NAME, "one"]]
    with hook.published([(NAME, "two")]):
        assert values(zone) == {"two"}
    assert values(zone) == set()


def test_what_still_cannot_be_removed_is_not_forgotten_for_the_records_of_the_next_run(
    api: Api, hook: DnsChallengeHook, zone: Domain, variables: Variables
) -> None:
    variables[NOTED] = json.dumps([["example.com", NAME, "left"]])
    api.account.add_record(zone, "TXT", "_acme-challenge", "left")
    api.disturb(status=503, method="DELETE", path="/v2/domains/*", count=1)
    with hook.published([(NAME, "new")]):
        assert values(zone) == {"left", "new"}
    assert values(zone) == set()
    assert NOTED not in variables


def test_of_several_records_the_first_is_removed_if_the_second_is_refused(
    api: Api, hook: DnsChallengeHook, zone: Domain
) -> None:
    with pytest.raises(DigitalOceanError, match=r"\(422\)"), hook.published([(NAME, "one"), (NAME, "")]):
        raise AssertionError("nothing may be asked for then")
    assert values(zone) == set()


def test_a_name_server_that_does_not_have_a_record_ends_the_wait_in_one_line(
    hook: DnsChallengeHook, zone: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_challenge, "ANSWERED_SECONDS", 0.1)
    monkeypatch.setattr(Domain, "answers", lambda *_: [])
    expected = rf"^name server 127\.0\.0\.1 does not have {NAME} \(waited 0\.1 s\)$"
    with pytest.raises(BlueGreenError, match=expected), hook.published([(NAME, "one")]):
        raise AssertionError("nothing may be asked for then")


def test_a_name_that_is_in_no_domain_of_the_account_is_named(hook: DnsChallengeHook, zone: Domain) -> None:
    expected = (
        r"^shop\.test is in no domain at DigitalOcean \(there are: com-is-none\.org, example\.com\); add"
    )
    wanted = [("_acme-challenge.shop.test", "one")]
    with pytest.raises(DnsChallengeError, match=expected), hook.published(wanted):
        raise AssertionError("nothing may be asked for then")


def test_a_token_without_the_scopes_is_named_with_them(
    api: Api, hook: DnsChallengeHook, zone: Domain
) -> None:
    api.disturb(status=403, path="/v2/domains*", count=1)
    expected = "the scopes domain:read, create and delete, or use http-01"
    with pytest.raises(DigitalOceanError, match=expected), hook.published([(NAME, "one")]):
        raise AssertionError("nothing may be asked for then")


def acme(authority: Pebble) -> AcmeSettings:
    return AcmeSettings(
        email="ops@example.com",
        directory=authority.directory,
        ca_file=str(authority.ca_file),
        challenge=ChallengeKind.DNS,
    )


def test_an_authority_issues_a_wildcard_certificate_by_it(
    hook: DnsChallengeHook, authority: Pebble, zone: Domain
) -> None:
    names = ["*.example.com", "example.com"]
    issued = order(acme(authority), new_key(), names, lambda: None, hook.published)
    assert set(issued.names) == set(names)
    assert values(zone) == set()


def test_an_authority_that_sees_no_record_says_so(authority: Pebble, zone: Domain) -> None:
    with pytest.raises(AcmeError, match=r"example\.com: .*TXT"):
        order(acme(authority), new_key(), ["example.com"], lambda: None, lambda _: nullcontext())


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "MX"},
        {"name": "a b"},
        {"ttl": 29},
        {"data": ""},
        {"type": "A", "data": "x"},
        {"type": "CNAME", "data": "www.example.com"},
    ],
    ids=str,
)
def test_what_digitalocean_refuses_of_a_record_is_refused(
    api: Api, zone: Domain, wrong: dict[str, Any]
) -> None:
    body = {"type": "TXT", "name": "x", "data": "y", "ttl": 30, **wrong}
    assert api.send("POST", "/v2/domains/example.com/records", json=body).status_code == 422
    assert api.send("POST", "/v2/domains/nowhere.org/records", json=body).status_code == 404
