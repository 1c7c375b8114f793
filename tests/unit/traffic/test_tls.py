"""How a real HAProxy speaks TLS: protocols, ciphers, redirect, HSTS, challenges."""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from bluegreen.color import Color
from tests.unit.certificate_authority import issued
from tests.unit.local_haproxy import PREVIEW_KEY, Deployed

STRANGER = {"X-Forwarded-For": "192.0.2.7"}
THUMBPRINT = "b" * 43
TLS: dict[str, Any] = {
    "https": True,
    "public_host": "www.example.com",
    "redirect": True,
    "hsts": 300,
    "acme_thumbprint": THUMBPRINT,
}


@pytest.fixture
def tls(deployed: Deployed) -> Deployed:
    path = deployed.world.root / "www.pem"
    path.write_text(issued("www.example.com").pem)
    deployed.sync(deployed.world.render(certificates=[str(path)], **TLS))
    return deployed


def by_http(deployed: Deployed, path: str = "/", **headers: str) -> tuple[HTTPResponse, str]:
    """Ask by http like a client, unless the headers say otherwise."""
    connection = HTTPConnection("127.0.0.1", deployed.world.http_port, timeout=10)
    sent = {"Host": "www.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST" if path == "/post" else "GET", path, headers=sent)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def handshake(deployed: Deployed, **changes: Any) -> tuple[str, str, str | None]:
    """Return protocol, cipher and application protocol that a client gets that may speak only this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in changes.items():
        if name == "ciphers":
            context.set_ciphers(value)
        else:
            setattr(context, name, value)
    with (
        socket.create_connection(("127.0.0.1", deployed.world.https_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="www.example.com") as secure,
    ):
        cipher = secure.cipher()
        assert cipher is not None
        return str(secure.version()), cipher[0], secure.selected_alpn_protocol()


def test_modern_clients_get_tls_13_and_http_2(tls: Deployed) -> None:
    assert handshake(tls)[::2] == ("TLSv1.3", "h2")


def test_older_clients_get_tls_12_with_forward_secrecy(tls: Deployed) -> None:
    version, cipher, _ = handshake(tls, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert (version, cipher.startswith("ECDHE-")) == ("TLSv1.2", True)


@pytest.mark.parametrize(
    "cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA384"]
)
def test_weak_ciphers_are_refused(cipher: str, tls: Deployed) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(tls, maximum_version=ssl.TLSVersion.TLSv1_2, ciphers=f"{cipher}:@SECLEVEL=0")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_protocols_are_refused(tls: Deployed) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(
            tls,
            minimum_version=ssl.TLSVersion.TLSv1,
            maximum_version=ssl.TLSVersion.TLSv1_1,
            ciphers="ALL:@SECLEVEL=0",
        )


@pytest.mark.parametrize("path", ["/", "/a?b=c", "/post"])
def test_a_client_is_sent_to_https_with_method_and_path(path: str, tls: Deployed) -> None:
    answer, _ = by_http(tls, path, **STRANGER)
    assert (answer.status, answer.headers["Location"]) == (308, f"https://www.example.com{path}")
    assert answer.headers["Strict-Transport-Security"] is None


def test_another_proxy_learns_the_color_from_a_redirect(tls: Deployed) -> None:
    """Its question comes from a public address, without the preview key."""
    answer, _ = by_http(tls, **STRANGER)
    assert (answer.status, answer.headers["X-Color"]) == (308, "blue")


def test_neither_the_agent_nor_airflow_is_redirected(tls: Deployed) -> None:
    for headers in ({}, {"X_Forwarded_Proto": "https"}, {**STRANGER, "X_Preview_Key": PREVIEW_KEY}):
        answer, _ = by_http(tls, **headers)
        assert (answer.status, answer.headers["X-Color"]) == (200, "blue"), headers


def test_the_preview_host_is_not_redirected(tls: Deployed) -> None:
    answer, _ = by_http(tls, Host="green.example.com", **STRANGER, X_Preview_Key=PREVIEW_KEY)
    assert (answer.status, answer.headers["X-Color"]) == (200, "green")


def test_browsers_are_bound_to_https_by_https_only(tls: Deployed) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", tls.world.https_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="www.example.com") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: secure.recv(4096), b"")).lower()
    assert answer.startswith(b"http/1.1 200 ")
    assert b"strict-transport-security: max-age=300\r\n" in answer


def test_a_challenge_is_answered_before_any_redirect(tls: Deployed) -> None:
    token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
    for headers in ({}, STRANGER, {**STRANGER, "Host": "green.example.com"}):
        answer, text = by_http(tls, f"/.well-known/acme-challenge/{token}", **headers)
        assert (answer.status, text) == (200, f"{token}.{THUMBPRINT}")
        assert answer.headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize("token", ["", "short", "a" * 129, "a" * 20 + "/x", "<script>", "a%20" * 9])
def test_what_is_no_token_goes_to_the_app(token: str, tls: Deployed) -> None:
    answer, text = by_http(tls, f"/.well-known/acme-challenge/{token}")
    assert THUMBPRINT not in text
    assert answer.headers["X-Color"] == "blue"


def test_the_health_checks_and_a_switch_do_not_notice_the_redirect(tls: Deployed) -> None:
    assert tls.switch(Color.GREEN, https=True, host="www.example.com")["to"] == "green"
