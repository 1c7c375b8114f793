"""What an app believes of a client: through a real HAProxy, and a real PSGI server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

import pytest

from tests.unit.ipv6 import needs_ipv6
from tests.unit.local_haproxy import PREVIEW_KEY
from tests.unit.psgi_app import PsgiWorld, psgi_world

pytestmark = pytest.mark.skipif(
    not (shutil.which("haproxy") and shutil.which("starman")), reason="haproxy or starman is not installed"
)


STRANGER, TRUSTED, OWN = "127.0.8.1", "127.0.7.1", "127.0.0.1"


BALANCER = "127.0.9.1"


TRUSTED_PROXIES = [IPv4Network("127.0.7.0/24"), IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8::/32")]


def _names(*lines: str) -> list[str]:
    return " ".join(lines).split()


# Headers that a trusted proxy may send and nobody else.
FORWARDED = _names(
    "Forwarded X-Forwarded X-Forwarded-Host X-Forwarded-Port X-Forwarded-Protocol X-Forwarded-Scheme",
    "X-Forwarded-SSL X-Forwarded-HTTPS X-Forwarded-Server X-Forwarded-By X-Forwarded-Prefix",
    "X-Forwarded-Path X-Forwarded-Script-Name X-Forwarded-URI X-Forwarded-User X-Forwarded-Groups",
    "X-Forwarded-Client-Cert Forwarded-For Forwarded-Proto X-Forwarded-For-Original X-Forward-For",
    "X-Original-Forwarded-For X-Original-URL X-Original-URI X-Original-Host X-Rewrite-URL X-Client-IP",
    "Client-IP True-Client-IP X-Cluster-Client-IP X-Originating-IP X-Remote-IP X-Remote-Addr",
    "X-ProxyUser-IP Proxy-Client-IP WL-Proxy-Client-IP WL-Proxy-SSL X-Real-Port CF-Connecting-IP",
    "CF-Visitor Fastly-Client-IP CloudFront-Viewer-Address X-Azure-ClientIP X-Envoy-External-Address",
    "Front-End-Https X-Scheme X-URL-Scheme X-Proto HTTPS X-Https X-Host X-HTTP-Host-Override",
    "X-Script-Name Script-Name X-Request-Base Request-Base Remote-User X-Remote-User Remote-Groups",
    "X-Auth-Request-User X-Authenticated-User X-WebAuth-User OIDC-Claim-Sub SSL-Client-Cert",
    "SSL-Client-Verify X-SSL-Client-DN X-SSL X-Client-Cert X-Client-Verify Client-Cert X-ARR-ClientCert",
    "X-Amzn-OIDC-Data X-Goog-IAP-JWT-Assertion X-Request-Start X-Queue-Start X-Traversal-Client-IP",
    "CDN-Src-IP X-CDN-Src-IP Ali-CDN-Real-IP X-User X-Username X-Email X-Userinfo Shib-Session-ID EPPN",
    "X-Sandstorm-User-ID X-Request-Scheme X-Requested-Proto X-Is-SSL X-Country-Code X-GeoIP-Country",
)


# Nobody may send these; HAProxy sets the first three itself.
NOBODYS = _names(
    "X-Forwarded-For X-Forwarded-Proto X-Real-IP X-Preview-Key X-Color X-Revision Proxy X-Sendfile-Type",
    "X-Accel-Mapping",
)


# What a client says about itself, and those on its way.
CLIENTS = _names(
    "X-HTTP-Method-Override X-Requested-With X-Request-ID traceparent Via API_KEY X-Api-Key Authorization",
    "X-Forwarder X-CSRF-Token Remote X-Auth-Token X-Client-Version Cookie User-Agent If-Modified-Since",
    "X-Proxyish",
)


def spellings(name: str) -> list[str]:
    """All by which PSGI has one variable for it, but for the capitals, of which there are some."""
    first, last = name.replace("-", "_", 1), "_".join(name.rsplit("-", 1))
    return list(dict.fromkeys([name, name.upper(), name.lower(), name.replace("-", "_"), first, last]))


@pytest.fixture(scope="module", params=["nobody", "a CDN"])
def world(request: pytest.FixtureRequest) -> Iterator[PsgiWorld]:
    """HAProxy that trusts nobody, and one that trusts somebody else than the stranger."""
    with psgi_world(trusted_proxies=TRUSTED_PROXIES if request.param == "a CDN" else ()) as world:
        yield world


@pytest.fixture(scope="module")
def behind_cdn() -> Iterator[PsgiWorld]:
    """HAProxy that trusts a CDN, and a managed load balancer, and is asked by https in public."""
    with psgi_world(
        trusted_proxies=TRUSTED_PROXIES, balanced_from=IPv4Network("127.0.9.0/24"), https=True
    ) as world:
        yield world


@pytest.mark.parametrize("name", [*FORWARDED, *NOBODYS])
def test_no_header_of_a_proxy_arrives_from_a_stranger(world: PsgiWorld, name: str) -> None:
    lines = [f"{spelling}: evil, {spelling}\r\n" for spelling in spellings(name)]
    seen = world.seen("".join([*lines, "X-Other: x\r\n", *lines]))
    assert seen["HTTP_X_OTHER"] == "x"
    assert "evil" not in str(seen)
    assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_X_REAL_IP"]) == (STRANGER, STRANGER)
    assert seen["HTTP_X_FORWARDED_PROTO"] == "http"


@pytest.mark.parametrize("name", CLIENTS)
def test_what_clients_may_say_arrives(world: PsgiWorld, name: str) -> None:
    variable = "HTTP_" + name.upper().replace("-", "_")
    assert world.seen(f"{name}: mine\r\n")[variable] == "mine"


@pytest.mark.parametrize("name", FORWARDED)
def test_a_trusted_proxy_s_headers_arrive(behind_cdn: PsgiWorld, name: str) -> None:
    variable = "HTTP_" + name.upper().replace("-", "_")
    assert behind_cdn.seen(f"{name}: said\r\n", source=TRUSTED)[variable] == "said"


@pytest.mark.parametrize("name", FORWARDED)
def test_what_a_trusted_proxy_passes_on_unseen_does_not_arrive(behind_cdn: PsgiWorld, name: str) -> None:
    """It replaces what a client says in the usual spelling only."""
    lines = [f"{spelling}: evil\r\n" for spelling in spellings(name) if "_" in spelling]
    assert "evil" not in str(behind_cdn.seen("".join(lines), source=TRUSTED))


@pytest.mark.parametrize(
    "name", ["Content_Length", "Transfer_Encoding", "CONTENT_LENGTH", "transfer_encoding"]
)
@pytest.mark.parametrize("source", [STRANGER, TRUSTED])
def test_no_app_waits_for_a_body_that_haproxy_knows_nothing_of(
    world: PsgiWorld, name: str, source: str
) -> None:
    value = "chunked" if "odin" in name else "1000"
    seen = world.seen(f"{name}: {value}\r\n", source=source)
    assert value not in (seen.get("CONTENT_LENGTH"), seen.get("HTTP_CONTENT_LENGTH"))
    assert "HTTP_TRANSFER_ENCODING" not in seen


@pytest.mark.parametrize(
    "lines",
    [
        "X-Other: x\r\n X-Forwarded-Host: evil.example\r\n",
        "Connection: X-Forwarded-For, X-Real-IP\r\n",
        "Connection: Upgrade, X-Forwarded-For, X-Real-IP\r\nUpgrade: example\r\n",
        "X-Forwarded-Host:evil.example\r\nX-Forwarded-Host\t: evil.example\r\n",
        "X-Forwarded-Host : evil.example\r\n",
        "x-forwarded-host: a\r\nX_FORWARDED_HOST: b\r\nX-Forwarded_Host: evil.example, c\r\n",
    ],
)
def test_a_header_in_disguise_is_none(world: PsgiWorld, lines: str) -> None:
    status, _, seen = world.ask(lines)
    assert status in (200, 400)
    assert "HTTP_X_FORWARDED_HOST" not in seen
    if status == 200:
        assert "X-Real-IP" not in seen.get("HTTP_CONNECTION", "")
        assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_X_REAL_IP"]) == (STRANGER, STRANGER)


def test_a_client_that_speaks_http_2_cannot_pretend_either(world: PsgiWorld) -> None:
    headers = [
        f"{name}: evil" for name in ("X_Forwarded_Proto", "X-Forwarded-Host", "X-Real-IP", "Remote_User")
    ]
    url = f"http://127.0.0.1:{world.haproxy.http_port}/"
    command = ["curl", "-sS", "--http2-prior-knowledge", "--interface", STRANGER, "--max-time", "10"]
    command += [word for header in headers for word in ("-H", header)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    assert f'"HTTP_X_FORWARDED_FOR":"{STRANGER}"' in done.stdout
    assert "evil" not in done.stdout


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("6.6.6.6,198.51.100.7 , 203.0.113.9,127.0.7.2", "198.51.100.7"),
        ("6.6.6.6\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 203.0.113.9", "198.51.100.7"),
        ("6.6.6.6, 2a00::7, 2001:db8::1", "2a00::7"),
        # Only trusted proxies: the one that is farthest away.
        ("203.0.113.1, 203.0.113.2", "203.0.113.1"),
        # What stands before something that is no address may be the client's word.
        ("6.6.6.6, unknown, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, evil", TRUSTED),
        ("", TRUSTED),
        ("6.6.6.6, 203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4, 203.0.113.5", "203.0.113.1"),
    ],
)
def test_the_client_address_is_taken_from_trusted_proxies(
    behind_cdn: PsgiWorld, said: str, client: str
) -> None:
    seen = behind_cdn.seen(f"X-Forwarded-For: {said}\r\n", source=TRUSTED)
    assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_X_REAL_IP"]) == (client, client)


def test_a_kept_alive_connection_of_a_cdn_carries_many_clients(behind_cdn: PsgiWorld) -> None:
    url = f"http://127.0.0.1:{behind_cdn.haproxy.http_port}/"
    one = ["-H", "X-Forwarded-For: 198.51.100.7", url]
    other = ["-H", "X-Forwarded-For: 198.51.100.8", url]
    command = ["curl", "-sS", "--interface", TRUSTED, "--max-time", "10", *one, "--next", "-sS"]
    command += ["--interface", TRUSTED, "--max-time", "10", *other]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.replace("}{", "}\n{").splitlines()
    assert '"HTTP_X_FORWARDED_FOR":"198.51.100.7"' in first
    assert '"HTTP_X_FORWARDED_FOR":"198.51.100.8"' in second


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("https\r\nX-Forwarded-Proto: http", "http"),
        ("evil", "http"),
        ("", "http"),
    ],
)
def test_a_trusted_proxys_scheme_is_believed(behind_cdn: PsgiWorld, said: str, scheme: str) -> None:
    seen = behind_cdn.seen(f"X-Forwarded-Proto: {said}\r\n", source=TRUSTED)
    assert seen["HTTP_X_FORWARDED_PROTO"] == scheme


def test_a_trusted_proxy_may_be_behind_a_managed_load_balancer(behind_cdn: PsgiWorld) -> None:
    headers = "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-Host: shop.example\r\n"
    proxy = "PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n"
    seen = behind_cdn.seen(headers, source=BALANCER, before=proxy)
    assert seen["HTTP_X_FORWARDED_FOR"] == "198.51.100.7"
    assert (seen["HTTP_X_FORWARDED_PROTO"], seen["HTTP_X_FORWARDED_HOST"]) == ("https", "shop.example")
    stranger = "PROXY TCP4 198.51.100.9 198.51.100.1 40000 80\r\n"
    seen = behind_cdn.seen(headers, source=BALANCER, before=stranger)
    assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_X_FORWARDED_PROTO"]) == ("198.51.100.9", "http")
    assert "HTTP_X_FORWARDED_HOST" not in seen


@pytest.mark.parametrize(
    ("client", "arrives"),
    [("2001:db8::7", "2a00::1"), ("2001:db9::7", "2001:db9::7"), ("::ffff:203.0.113.7", "2a00::1")],
)
def test_a_trusted_proxy_may_come_by_ipv6(behind_cdn: PsgiWorld, client: str, arrives: str) -> None:
    proxy = f"PROXY TCP6 {client} 2001:db8::1 40000 80\r\n"
    seen = behind_cdn.seen("X-Forwarded-For: 2a00::1\r\n", source=BALANCER, before=proxy)
    assert seen["HTTP_X_FORWARDED_FOR"] == arrives


@needs_ipv6
def test_a_client_by_ipv6_is_served_and_named(world: PsgiWorld) -> None:
    seen = world.seen("X-Forwarded-Proto: https\r\n", source="::1")
    assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_X_REAL_IP"]) == ("::1", "::1")
    # It is somebody on the proxy.
    assert seen["HTTP_X_FORWARDED_PROTO"] == "https"


def test_requests_from_the_proxy_itself_may_set_their_scheme(world: PsgiWorld) -> None:
    assert world.seen("X-Forwarded-Proto: https\r\n", source=OWN)["HTTP_X_FORWARDED_PROTO"] == "https"
    # A program there that passes on what others ask.
    headers = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 6.6.6.6\r\n"
    assert world.seen(headers, source=OWN)["HTTP_X_FORWARDED_PROTO"] == "http"


@pytest.mark.parametrize("named", ["TCP4 127.0.0.1 127.0.0.1", "TCP6 ::1 ::1"])
def test_a_managed_load_balancer_is_not_treated_as_the_proxy_itself(
    behind_cdn: PsgiWorld, named: str
) -> None:
    proxy = f"PROXY {named} 40000 80\r\n"
    seen = behind_cdn.seen("X-Forwarded-Proto: https\r\n", source=BALANCER, before=proxy)
    assert seen["HTTP_X_FORWARDED_PROTO"] == "http"


def test_a_request_with_the_preview_key_is_passed_on_as_clients_make_it(
    world: PsgiWorld, behind_cdn: PsgiWorld
) -> None:
    key = f"X-Preview-Key: {PREVIEW_KEY}\r\n"
    assert behind_cdn.seen(key)["HTTP_X_FORWARDED_PROTO"] == "https"
    assert world.seen(key)["HTTP_X_FORWARDED_PROTO"] == "http"
    assert behind_cdn.seen("X-Preview-Key: wrong\r\n")["HTTP_X_FORWARDED_PROTO"] == "http"
    assert PREVIEW_KEY not in str(behind_cdn.seen(key))
