"""A renewal of certificates: by a real certificate authority, through a real HAProxy."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import renew_certificates
from bluegreen.traffic import acme
from bluegreen.traffic.certificates import KeyedCertificate, path_of
from tests.pebble import Pebble, pebble
from tests.unit.certificate_authority import issued
from tests.unit.local_haproxy import Deployed, local_haproxy
from tests.unit.renewals import Renewals

WWW = "www.example.com"


@pytest.fixture
def renewals(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Renewals:
    return Renewals(monkeypatch, **{"lb-1": deployed})


@pytest.fixture
def authority(deployed: Deployed, tmp_path: Path) -> Iterator[Pebble]:
    with pebble(tmp_path, "127.0.0.1", deployed.world.http_port) as running:
        yield running


def by_acme(authority: Pebble, *names: str, **changes: Any) -> dict[str, Any]:
    acme = {"email": "ops@example.com", "directory": authority.directory, "ca_file": str(authority.ca_file)}
    return {"certificates": [{"acme": [*names]}], "acme": acme, **changes}


def shown(renewals: Renewals, name: str = WWW, root: str | None = None, on: str = "lb-1") -> str:
    """Return the fingerprint of the certificate that a client gets; one that trusts the root checks it."""
    world = renewals.proxies[on].deployed.world
    context = ssl.create_default_context(cadata=root) if root else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not root:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", world.https_port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


def test_a_first_certificate_is_obtained_served_and_left_alone_afterwards(
    renewals: Renewals, authority: Pebble
) -> None:
    renewals.configure(**by_acme(authority, WWW, "example.com"))
    state, line = renewals.run()
    assert state == "success", line
    assert f"obtained {WWW} until " in line
    for name in (WWW, "example.com"):
        first = shown(renewals, name, authority.root())
    [dates] = [value for (_, key), value in renewals.left.items() if key == "certificates"]
    assert [set(one) for one in dates.values()] == [{"ends", "late_from"}]
    state, line = renewals.run()
    assert state == "skipped"
    assert "every proxy serves its certificates, the first until " in line
    assert shown(renewals) == first


def test_by_dns_a_wildcard_certificate_is_obtained_and_no_proxy_is_asked_for_challenges(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dns:
        """Stands in for DigitalOcean's."""

        def __init__(self, *_: Any) -> None:
            pass

        @contextmanager
        def published(self, wanted: Iterable[tuple[str, str]]) -> Iterator[None]:
            for name, value in wanted:
                authority.publish(name, value)
            yield

    monkeypatch.setattr(renew_certificates, "DnsChallengeHook", Dns)
    tls = by_acme(authority, "*.example.com", "example.com")
    renewals.configure(**{**tls, "acme": {**tls["acme"], "challenge": "dns-01"}})
    state, line = renewals.run()
    assert state == "success", line
    assert "answers challenges" not in line
    for name in (WWW, "any.example.com", "example.com"):
        shown(renewals, name, authority.root())
    assert renewals.served().thumbprint is None
    assert renewals.run()[0] == "skipped"


def test_asked_for_it_obtains_another_with_another_key_and_without_a_reload(
    renewals: Renewals, authority: Pebble
) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before, kept = shown(renewals), dict(renewals.variables)
    worker = renewals.proxies["lb-1"].deployed.world.ask("show info").partition("\nPid: ")[2].split("\n")[0]
    state, line = renewals.run(renew=True)
    assert state == "success", line
    assert before != shown(renewals, root=authority.root())
    now = renewals.proxies["lb-1"].deployed.world.ask("show info").partition("\nPid: ")[2].split("\n")[0]
    assert now == worker
    name = "bluegreen_certificate_private_key__my_perl_app__www.example.com"
    keys = [text[name].rpartition("BEGIN PRIVATE KEY")[2] for text in (kept, renewals.variables)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(("days", "renewed"), [(31, False), (29, True)])
def test_it_is_renewed_when_a_third_of_its_life_is_left(
    days: int, renewed: bool, renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before = shown(renewals)
    # So many days before the end, and the authority's own clock stays where it is.
    later = datetime.now(UTC) + timedelta(days=90 - days)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return later

    monkeypatch.setattr(renew_certificates, "datetime", Later)
    renewals.run()
    assert (shown(renewals) != before) is renewed


def test_other_names_are_another_certificate(renewals: Renewals, authority: Pebble) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    renewals.configure(**by_acme(authority, WWW, "shop.example.com"))
    state, line = renewals.run()
    assert state == "success", line
    assert shown(renewals, "shop.example.com", authority.root())


def test_without_its_authority_the_old_certificate_serves(renewals: Renewals, authority: Pebble) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before = shown(renewals)
    authority.process.kill()
    state, line = renewals.run(renew=True)
    assert (state, "cannot be asked" in line, "\n" in line) == ("failed", True, False), line
    assert shown(renewals) == before


def test_a_name_that_leads_elsewhere_gets_no_certificate_and_the_others_do(
    renewals: Renewals, authority: Pebble
) -> None:
    authority.lead("away.example.com", "127.0.0.99")
    settings = by_acme(authority, WWW)
    settings["certificates"].append({"acme": ["away.example.com"]})
    renewals.configure(**settings)
    state, line = renewals.run()
    assert state == "failed"
    assert "no certificate for away.example.com from" in line
    assert "127.0.0.99" in line
    assert shown(renewals, root=authority.root())


def test_what_is_not_valid_by_airflows_clock_is_not_delivered(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before = shown(renewals)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + timedelta(days=400)

    monkeypatch.setattr(renew_certificates, "datetime", Wrong)
    state, line = renewals.run()
    assert (state, "look at the clock" in line) == ("failed", True), line
    assert shown(renewals) == before


def with_connection(renewals: Renewals, certificate: KeyedCertificate) -> None:
    certificate_text, mark, key = certificate.pem.partition("-----BEGIN PRIVATE KEY-----")
    if not mark:
        certificate_text, mark, key = certificate.pem.partition("-----BEGIN RSA PRIVATE KEY-----")
    if not mark:
        certificate_text, mark, key = certificate.pem.partition("-----BEGIN EC PRIVATE KEY-----")
    renewals.connections["shop_tls"] = {"certificate": certificate_text, "private_key": mark + key}


def test_a_certificate_of_a_connection_is_delivered_and_so_is_its_successor(renewals: Renewals) -> None:
    first, second = issued(WWW), issued(WWW)
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    assert renewals.run()[0] == "success"
    assert shown(renewals) == first.fingerprint
    with_connection(renewals, second)
    assert renewals.run() == ("success", "lb-1 has shop_tls")
    assert shown(renewals) == second.fingerprint


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"certificate": "", "private_key": "x"}, "needs certificate and private_key"),
        ({"certificate": "nonsense", "private_key": "x"}, "found 0 certificates and 0 private keys"),
        ({"private_key": issued("x.com").pem[-400:]}, "private key"),
    ],
)
def test_a_connection_that_is_not_usable_keeps_the_old_certificate(
    change: dict[str, str], expected: str, renewals: Renewals
) -> None:
    first = issued(WWW)
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    renewals.run()
    renewals.connections["shop_tls"] = {**renewals.connections["shop_tls"], **change}
    state, line = renewals.run()
    assert (state, expected in line, "BEGIN" in line) == ("failed", True, False), line
    assert shown(renewals) == first.fingerprint


def test_an_api_server_that_does_not_answer_is_not_taken_for_no_certificate(
    renewals: Renewals, authority: Pebble
) -> None:
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before, kept = shown(renewals), dict(renewals.variables)
    renewals.variables.trouble = True
    state, line = renewals.run()
    assert (state, "cannot be read at the moment" in line) == ("failed", True), line
    assert (shown(renewals), dict(renewals.variables)) == (before, kept)


def test_a_proxy_that_fails_keeps_no_other_from_the_new_certificate_and_follows_later(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_haproxy() as world:
        renewals = Renewals(monkeypatch, **{"lb-1": deployed, "lb-2": Deployed(world)})
        first, second = issued(WWW), issued(WWW)
        renewals.configure(certificates=[{"connection": "shop_tls"}])
        with_connection(renewals, first)
        assert renewals.run()[0] == "success"
        with_connection(renewals, second)
        renewals.proxies["lb-2"].trouble = BlueGreenError("lb-2: the SSH connection was lost")
        expected = "lb-1 has shop_tls; but lb-2: the SSH connection was lost"
        assert renewals.run() == ("failed", expected)
        assert shown(renewals) == second.fingerprint
        assert shown(renewals, on="lb-2") == first.fingerprint
        renewals.proxies["lb-2"].trouble = None
        state, line = renewals.run(away=("lb-2",))
        assert (state, line.partition(": ")[0]) == ("failed", "away, and served by the next run")
        assert renewals.run() == ("success", "lb-2 has shop_tls")
        assert shown(renewals, on="lb-2") == second.fingerprint


def test_what_was_served_is_served_until_its_successor_is_there(
    renewals: Renewals, authority: Pebble
) -> None:
    """Another first name is another file; a deploy may come before the authority was asked."""
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before = shown(renewals)
    renewals.configure(**by_acme(authority, "example.com", WWW))
    served = renewals.served()
    assert served.paths == (path_of(WWW),)
    assert served.to_send[WWW].fingerprint == before
    state, line = renewals.run()
    assert state == "success", line
    assert renewals.served().paths == (path_of("example.com"),)
    assert shown(renewals) == shown(renewals, "example.com") != before


def test_another_authority_s_certificate_takes_the_place_of_the_one_that_serves(
    renewals: Renewals, authority: Pebble
) -> None:
    settings = by_acme(authority, WWW)
    settings["acme"]["directory"] = authority.directory.replace("127.0.0.1", "localhost")
    renewals.configure(**settings)
    renewals.run()
    before = shown(renewals)
    renewals.configure(**by_acme(authority, WWW))
    assert renewals.served().to_send[WWW].fingerprint == before
    assert renewals.run()[0] == "success"
    assert shown(renewals) != before


def test_a_lost_database_closes_no_port_443(renewals: Renewals, authority: Pebble) -> None:
    """Airflow has neither account nor certificate any more; the proxies serve what they have."""
    renewals.configure(**by_acme(authority, WWW))
    renewals.run()
    before = shown(renewals)
    renewals.variables.clear()
    renewals.deploy()
    assert shown(renewals) == before
    authority.process.kill()
    assert renewals.run()[0] == "failed"
    assert shown(renewals) == before


def test_a_certificate_of_a_connection_serves_until_its_successor_by_acme_is_there(
    renewals: Renewals, authority: Pebble
) -> None:
    first = issued(WWW)
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    renewals.run()
    renewals.configure(**by_acme(authority, WWW))
    renewals.deploy()
    assert shown(renewals) == first.fingerprint
    assert renewals.run()[0] == "success"
    assert shown(renewals, root=authority.root()) != first.fingerprint
    assert renewals.served().paths == (path_of(WWW),)


def test_a_new_proxy_closes_port_443_on_no_other(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks a file that Airflow has lost, so no configuration that names it could be given to all."""
    renewals = Renewals(monkeypatch, **{"lb-1": deployed})
    first = issued(WWW)
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    renewals.run()
    acme = {"email": "ops@example.com", "directory": "https://localhost:1/directory"}
    with local_haproxy() as world:
        both = Renewals(monkeypatch, **{"lb-1": deployed, "lb-2": Deployed(world)})
        both.configure(certificates=[{"acme": [WWW]}], acme=acme)
        with pytest.raises(BlueGreenError, match="port 443 would be closed"):
            both.deploy()
        assert shown(both) == first.fingerprint


@pytest.mark.parametrize("days", [-0.5, 2], ids=["expired", "not valid yet"])
def test_what_clients_would_refuse_is_never_sent(
    days: float, renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another certificate's renewal, and a deploy, deliver all that there is."""
    first, wrong = issued(WWW), issued(WWW, days=max(days, -0.5))
    if days > 0:
        wrong = replace(wrong, begins=datetime.now(UTC) + timedelta(days=1))
        monkeypatch.setattr(
            KeyedCertificate, "parse", classmethod(later_for(wrong.fingerprint, KeyedCertificate.parse))
        )
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    renewals.run()
    with_connection(renewals, wrong)
    settings = by_acme(authority, "example.com")
    settings["certificates"].insert(0, {"connection": "shop_tls"})
    renewals.configure(**settings)
    state, line = renewals.run()
    assert (state, "it was not delivered" in line) == ("failed", True), line
    assert "obtained example.com" in line
    renewals.deploy()
    assert shown(renewals) == first.fingerprint
    assert shown(renewals, "example.com", authority.root()) != first.fingerprint


def later_for(fingerprint: str, parse: Any) -> Any:
    """Let one certificate begin tomorrow."""

    def parsed(_: Any, text: str, source: str) -> KeyedCertificate:
        found: KeyedCertificate = parse(text, source)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        return replace(found, begins=tomorrow) if found.fingerprint == fingerprint else found

    return parsed


@pytest.mark.parametrize("trouble", ["no connection", "no variable", "another text"])
def test_a_certificate_that_cannot_be_read_refuses_no_deploy_where_the_proxies_have_it(
    trouble: str, renewals: Renewals, authority: Pebble
) -> None:
    with_connection(renewals, issued("shop.example.com"))
    settings = by_acme(authority, WWW)
    settings["certificates"].append({"connection": "shop_tls"})
    renewals.configure(**settings)
    assert renewals.run()[0] == "success"
    before = shown(renewals), shown(renewals, "shop.example.com")
    if trouble == "no connection":
        renewals.connections.clear()
    elif trouble == "no variable":
        renewals.variables.trouble = True
    else:
        renewals.variables["bluegreen_certificate_private_key__my_perl_app__www.example.com"] = "nonsense"
    renewals.deploy()
    assert (shown(renewals), shown(renewals, "shop.example.com")) == before


def test_a_certificate_that_cannot_be_read_and_is_on_no_proxy_is_named(renewals: Renewals) -> None:
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with pytest.raises(BlueGreenError, match="shop_tls"):
        renewals.deploy()


def test_a_certificate_for_many_names_is_delivered(renewals: Renewals) -> None:
    bought = issued(WWW, *(f"n{number}.example.com" for number in range(120)))
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, bought)
    assert renewals.run()[0] == "success"
    assert shown(renewals) == bought.fingerprint


def test_a_name_that_no_client_can_ask_for_gets_no_handshake(renewals: Renewals) -> None:
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    bought = replace(issued(WWW), names=(WWW, "my_shop.example.com"))
    [answer] = renewals.hook().deliver_certificates({"shop_tls": bought}).values()
    assert not isinstance(answer, BlueGreenError), answer
    assert answer.certificates["shop_tls"].changed


def test_the_lock_is_renewed_after_each_answer_of_the_authority(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred names are hundreds of answers, and the lock's lease is two minutes."""
    renewed: list[None] = []
    monkeypatch.setattr(ProxiesHook, "renew_in_time", lambda _: renewed.append(None))
    names = [WWW, *(f"n{number}.example.com" for number in range(9))]
    renewals.configure(**by_acme(authority, *names))
    assert renewals.run()[0] == "success"
    assert len(renewed) > 2 * len(names)


def test_a_pause_that_the_authority_asks_for_is_used_to_renew_the_lock(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals.configure(**by_acme(authority, WWW))
    # The first look is over before the authority was asked for the result.
    monkeypatch.setattr(acme, "LOOK_SECONDS", 0.002)
    state, line = renewals.run()
    assert state == "success", line


def test_orders_end_before_somebody_who_waits_for_the_lock_gives_up(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = by_acme(authority, WWW)
    settings["certificates"].append({"acme": ["shop.example.com"]})
    renewals.configure(**settings)
    monkeypatch.setattr(renew_certificates, "ORDERS_SECONDS", 0.01)
    state, line = renewals.run()
    assert (state, "obtained by the next run: shop.example.com" in line) == ("failed", True), line
    assert shown(renewals, root=authority.root())


def test_a_renewal_that_takes_too_long_says_so(
    renewals: Renewals, authority: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow ends it, and a second try would take as long."""

    def dripping(*_: Any) -> None:
        raise AirflowTaskTimeout

    renewals.configure(**by_acme(authority, WWW))
    monkeypatch.setattr(renew_certificates, "order", dripping)
    state, line = renewals.run()
    assert (state, "took too long" in line) == ("failed", True), line


def test_a_certificate_for_another_host_takes_the_place_of_no_right_one(renewals: Renewals) -> None:
    """Somebody has pasted that of example.org into the connection."""
    first = issued("*.example.com")
    renewals.configure(certificates=[{"connection": "shop_tls"}])
    with_connection(renewals, first)
    assert renewals.run()[0] == "success"
    with_connection(renewals, issued("www.example.org"))
    state, line = renewals.run()
    expected = "'shop_tls' is for www.example.org, and no certificate of traffic.tls is for www.example.com"
    assert (state, expected in line) == ("failed", True), line
    renewals.deploy()
    assert shown(renewals) == first.fingerprint
