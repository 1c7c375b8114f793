"""The program that reaches backing services: whatever they do, it ends in time and shows no secret."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from agent.droplet.services import program_for
from agent.services import ServiceCheck, causes_in
from tests.unit.ipv6 import needs_ipv6

Answer = Callable[[socket.socket], None]
PASSWORD = "hunter2-and-more"


def cause(kind: str, value: str, timeout: float = 5, **environment: str) -> str:
    """Return why a service is not reached; empty if it is."""
    check: ServiceCheck = {"name": "db", "kind": kind, "value": value, "timeout": timeout}
    found = said([check], **environment)
    assert PASSWORD not in found
    return dict(causes_in(found, [check]))["db"]


def said(checks: list[ServiceCheck], **environment: str) -> str:
    """Return what the program writes, as it is run in the cage."""
    done = subprocess.run(
        program_for(checks),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def serving(answer: Answer = lambda _: None, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """Listen on this machine, and give each client the same treatment; yield the port."""
    host = "::1" if family is socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=treat, args=(client,), daemon=True).start()

        def treat(client: socket.socket) -> None:
            with client, suppress(OSError):
                answer(client)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def written(head: bytes) -> Answer:
    """Read the request, write this, and close."""

    def answer(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(head)

    return answer


def silent(client: socket.socket) -> None:
    """Say nothing until the client is gone."""
    while client.recv(1 << 16):
        pass


def dripping(client: socket.socket) -> None:
    """Write a byte at a time, for ever."""
    ended = threading.Event()
    while not ended.wait(0.2):
        client.sendall(b"H")


def endless(client: socket.socket) -> None:
    """Write a head that does not end."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: " + b"y" * (1 << 16) + b"\r\n")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_an_address_is_reached_if_it_takes_a_connection_whatever_it_says() -> None:
    with serving(silent) as port:
        assert cause("address", f"127.0.0.1:{port}") == ""
    assert cause("address", f"127.0.0.1:{closed_port()}") == "connection refused"
    assert cause("address", "no-such-host.invalid:1") != ""


@needs_ipv6
def test_an_ipv6_address_is_reached() -> None:
    with serving(silent, socket.AF_INET6) as port:
        assert cause("address", f"[::1]:{port}") == ""
        assert cause("address_from", "DB", DB=f"redis://[::1]:{port}/0") == ""


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", ""),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "it answers 503"),
        (b"SSH-2.0-OpenSSH\r\n", "what answers there does not speak HTTP"),
        (b"", "what answers there does not speak HTTP"),
    ],
)
def test_any_answer_counts_but_an_error_of_the_server(head: bytes, why: str) -> None:
    with serving(written(head)) as port:
        assert cause("url", f"http://127.0.0.1:{port}/health?deep=1") == why


@pytest.mark.parametrize("answer", [silent, dripping], ids=["silent", "dripping"])
def test_what_never_answers_ends_in_its_own_time(answer: Answer) -> None:
    with serving(answer) as port:
        assert cause("url", f"http://127.0.0.1:{port}/", timeout=1) == "no answer within 1 s"


def test_an_endless_head_is_not_read_to_its_end() -> None:
    with serving(endless) as port:
        assert cause("url", f"http://127.0.0.1:{port}/") == "what answers there does not speak HTTP"


def test_a_name_that_is_never_resolved_delays_nothing_else(tmp_path: Any) -> None:
    # The resolver hangs in a thread, as it does where DNS is dropped.
    (tmp_path / "hang.py").write_text(
        "import socket, threading\n"
        "before = socket.getaddrinfo\n"
        "def hang(host, *rest, **more):\n"
        "    return threading.Event().wait() if host == 'slow.example' else before(host, *rest, **more)\n"
        "socket.getaddrinfo = hang\n"
    )
    with serving(silent) as port:
        slow: ServiceCheck = {"name": "slow", "kind": "address", "value": "slow.example:1", "timeout": 1}
        good: ServiceCheck = {"name": "good", "kind": "address", "value": f"127.0.0.1:{port}", "timeout": 5}
        words = program_for([slow, good])
        source = f"exec(open({str(tmp_path / 'hang.py')!r}).read())\n{words[4]}"
        command = [sys.executable, "-c", source.replace("from __future__ import annotations", ""), words[5]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["slow: no answer within 1 s", "good: reached"]


@pytest.mark.parametrize(
    "place",
    ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1]:80"],
)
def test_the_metadata_service_is_not_asked(place: str) -> None:
    why = "it is a link-local address, and apps may not reach the metadata service"
    assert cause("address", place) == why
    assert cause("url", f"http://{place}/metadata/v1/user-data") == why
    assert cause("url_from", "API", API=f"http://{place}/") == why


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://me:{password}@127.0.0.1:{port}/shop?sslmode=require",
        "postgresql://me:{password}@127.0.0.1:{closed},127.0.0.1:{port}/shop",
        "redis://:{password}@127.0.0.1:{port}/0",
        "dbi:Pg:dbname=shop;host=127.0.0.1;port={port};password={password}",
        "DBI:mysql:database=shop;host=127.0.0.1;port={port}",
        "127.0.0.1:{port}",
    ],
)
def test_a_variable_names_the_address_as_apps_write_it(value: str) -> None:
    with serving(silent) as port:
        written = value.format(password=PASSWORD, port=port, closed=closed_port())
        assert cause("address_from", "DATABASE_URL", DATABASE_URL=written) == ""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "the variable DATABASE_URL is not set"),
        (f"postgresql://me:{PASSWORD}/x@127.0.0.1:5432/shop", "a password in it has to be percent-encoded"),
        (f"postgresql://me:{PASSWORD}#x@127.0.0.1/shop", "a password in it has to be percent-encoded"),
        ("postgresql:///shop?host=/run/postgresql", "it names no host; check a local socket by a command"),
        ("dbi:Pg:dbname=shop", "it names no host; check a local socket by a command"),
        ("dbi:Oracle:host=db", "it names no port"),
        ("mongodb+srv://cluster.example.com/", "it names no port"),
        (f"redis://:{PASSWORD}@127.0.0.1:port/", "a password in it has to be percent-encoded"),
    ],
)
def test_a_variable_that_names_no_address_is_described_without_its_value(value: str, why: str) -> None:
    assert why in cause("address_from", "DATABASE_URL", DATABASE_URL=value)


def test_user_and_password_of_a_url_are_not_sent() -> None:
    seen: list[bytes] = []

    def answer(client: socket.socket) -> None:
        seen.append(client.recv(1 << 16))
        client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with serving(answer) as port:
        assert cause("url_from", "API", API=f"http://me:{PASSWORD}@127.0.0.1:{port}/x?y=1") == ""
    [request] = seen
    assert request.startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in request
    assert PASSWORD.encode() not in request
    assert b"Authorization" not in request


def test_a_server_without_tls_is_described() -> None:
    with serving(written(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert cause("url", f"https://127.0.0.1:{port}/").startswith("no TLS connection: ")


def test_variables_for_python_are_the_app_s_own(tmp_path: Any) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    with serving(silent) as port:
        assert cause("address", f"127.0.0.1:{port}", PYTHONPATH=str(tmp_path), PYTHONSTARTUP="x") == ""
