"""Who may see the idle color, through a real HAProxy and a real PSGI server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

import pytest

from bluegreen.checks.finding import difference
from bluegreen.patterns import PREVIEW_KEY as ALLOWED_KEYS
from tests.unit.ipv6 import needs_ipv6
from tests.unit.local_haproxy import PREVIEW_KEY
from tests.unit.psgi_app import PsgiWorld, psgi_world
from tests.unit.shop_config import render

pytestmark = pytest.mark.skipif(
    not (shutil.which("haproxy") and shutil.which("starman")), reason="haproxy or starman is not installed"
)

PREVIEW_HOST, PUBLIC_HOST = "green.example.com", "www.example.com"
STRANGER, OFFICE, CDN, BALANCER, OWN = "127.0.8.1", "127.0.6.1", "127.0.7.1", "127.0.9.1", "127.0.0.1"
KEY = f"X-Preview-Key: {PREVIEW_KEY}\r\n"


@pytest.fixture(scope="module")
def world() -> Iterator[PsgiWorld]:
    """Return one in which an office may look, behind a CDN or a managed load balancer as well."""
    with psgi_world(
        preview_allow=[IPv4Network("127.0.6.0/24"), IPv6Network("2001:db8::/32")],
        trusted_proxies=[IPv4Network("127.0.7.0/24")],
        balanced_from=IPv4Network("127.0.9.0/24"),
        public_host=PUBLIC_HOST,
        https=True,
    ) as world:
        yield world


@pytest.fixture(scope="module")
def plain_world() -> Iterator[PsgiWorld]:
    """Return one with the default settings."""
    with psgi_world() as world:
        yield world


def by_proxy(client: str) -> str:
    """What a managed load balancer sends first."""
    kind = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {kind} {client} {'2001:db8::1' if kind == 'TCP6' else '198.51.100.1'} 40000 80\r\n"


@pytest.mark.parametrize(
    ("source", "before", "headers"),
    [
        (OWN, "", ""),
        pytest.param("::1", "", "", marks=needs_ipv6),
        (OFFICE, "", ""),
        (STRANGER, "", KEY),
        (STRANGER, "", KEY.lower().replace("not-a-secret-either", PREVIEW_KEY)),
        (CDN, "", "X-Forwarded-For: 6.6.6.6, 127.0.6.9\r\n"),
        (CDN, "", f"X-Forwarded-For: 6.6.6.6\r\n{KEY}"),
        (BALANCER, by_proxy("127.0.6.9"), ""),
        (BALANCER, by_proxy("2001:db8::9"), ""),
        (BALANCER, by_proxy("::ffff:127.0.6.9"), ""),
        (BALANCER, by_proxy("127.0.7.9"), "X-Forwarded-For: 127.0.6.9\r\n"),
        (BALANCER, by_proxy("6.6.6.6"), KEY),
    ],
)
def test_who_may_look_sees_the_idle_color_as_clients_would(
    world: PsgiWorld, source: str, before: str, headers: str
) -> None:
    status, fields, seen = world.ask(headers, source=source, before=before, host=PREVIEW_HOST)
    assert (status, fields["x-color"]) == (200, "green")
    assert (seen["HTTP_HOST"], seen["HTTP_X_FORWARDED_PROTO"]) == (PUBLIC_HOST, "https")
    assert PREVIEW_KEY not in str(seen)


@pytest.mark.parametrize(
    ("source", "before", "headers"),
    [
        (STRANGER, "", ""),
        (STRANGER, "", "X-Preview-Key: wrong\r\n"),
        (STRANGER, "", f"X_Preview_Key: {PREVIEW_KEY}\r\n"),
        (STRANGER, "", f"X-Preview-Key: {PREVIEW_KEY},x\r\n"),
        (STRANGER, "", f"X-Preview-Key: {PREVIEW_KEY.upper()}\r\n"),
        (STRANGER, "", "X-Forwarded-For: 127.0.6.9\r\nX-Real-IP: 127.0.0.1\r\n"),
        (STRANGER, by_proxy("127.0.6.9"), ""),
        (CDN, "", ""),
        (CDN, "", "X-Forwarded-For: 127.0.6.9, 6.6.6.6\r\n"),
        (CDN, "", "X-Forwarded-For: 127.0.0.1\r\n"),
        (BALANCER, by_proxy("6.6.6.6"), "X-Forwarded-For: 127.0.6.9\r\n"),
        (BALANCER, by_proxy("2001:db9::9"), ""),
        (BALANCER, by_proxy("127.0.0.1"), ""),
        (BALANCER, by_proxy("::1"), ""),
        (BALANCER, by_proxy("::ffff:127.0.0.1"), ""),
        # Passed on by a program on the proxy itself.
        (OWN, "", "X-Forwarded-For: 6.6.6.6\r\n"),
    ],
)
def test_only_allowed_clients_reach_the_idle_color(
    world: PsgiWorld, source: str, before: str, headers: str
) -> None:
    status, fields, seen = world.ask(headers, source=source, before=before, host=PREVIEW_HOST)
    assert status == (400 if before and source == STRANGER else 403)
    assert ("x-color" in fields, seen) == (False, {})


@pytest.mark.parametrize(
    "host", [PREVIEW_HOST.upper(), f"{PREVIEW_HOST}:8080", f"{PREVIEW_HOST},x", f"x,{PREVIEW_HOST}"]
)
def test_another_spelling_of_the_preview_host_is_no_way_in(world: PsgiWorld, host: str) -> None:
    # Later versions of HAProxy refuse such a host altogether.
    assert world.ask(host=host)[0] in (400, 403)


@pytest.mark.parametrize("host", [f"{PREVIEW_HOST}.", f"x{PREVIEW_HOST}", PUBLIC_HOST, "127.0.0.1"])
@pytest.mark.parametrize("headers", ["", KEY])
def test_every_other_host_is_answered_by_the_live_color(world: PsgiWorld, host: str, headers: str) -> None:
    status, fields, _ = world.ask(headers, host=host)
    assert (status, fields["x-color"]) == (200, "blue")


def test_without_a_public_url_the_preview_has_its_own_host(plain_world: PsgiWorld) -> None:
    seen = plain_world.seen(KEY, host=PREVIEW_HOST)
    assert (seen["HTTP_HOST"], seen["HTTP_X_FORWARDED_PROTO"]) == (PREVIEW_HOST, "http")


def test_by_default_only_airflow_and_the_proxy_may_look(plain_world: PsgiWorld) -> None:
    status = {source: plain_world.ask(source=source, host=PREVIEW_HOST)[0] for source in (OFFICE, OWN)}
    assert status == {OFFICE: 403, OWN: 200}


@pytest.mark.parametrize(
    "key", ["-m-str--f-/etc/passwd", "!%&()*+,./:;<=>?@[]^_`{|}~-", "{}-!||-or-and-if-unless"]
)
def test_every_key_that_is_allowed_works_as_it_is(key: str) -> None:
    with psgi_world(preview_key=key) as world:
        assert world.ask(f"X-Preview-Key: {key}\r\n", host=PREVIEW_HOST)[0] == 200
        assert world.ask(f"X-Preview-Key: {key}x\r\n", host=PREVIEW_HOST)[0] == 403
    assert ALLOWED_KEYS.endswith("{16,128}")


def test_a_key_that_has_changed_is_not_shown_as_drift() -> None:
    old, new = render(preview_key="old-and-not-known-here"), render(preview_key="new-and-known-too")
    assert difference("haproxy.cfg", old, new) == ["(only a password differs)"]
    assert "new-and-known" not in str(
        difference("haproxy.cfg", old, render(preview_key="new-and-known-too", https=True))
    )
