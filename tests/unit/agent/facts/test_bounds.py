"""The script for facts comes to its end, in bytes and in time, whatever it is told."""

from __future__ import annotations

import json
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from bluegreen.agent_bundle import AGENT_DIRECTORY
from tests.unit.facts_verb import NEEDS_ROOT, run_facts
from tests.waiting import until

Say = Callable[[socket.socket, Event], None]
# Seconds that nothing here comes near, however busy the machine is.
LONG = 500


def drips(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not over.wait(0.2):
        connection.sendall(b"X")


def never_ends(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in count():
        connection.sendall(f"X-{number}: {'x' * 900}\r\n".encode())


def answers_with_an_endless_body(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-revision: abc\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def says_nothing(connection: socket.socket, over: Event) -> None:
    over.wait()


def hangs_up(connection: socket.socket, over: Event) -> None:
    connection.recv(4096)


def speaks_otherwise(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")


def redirects(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"HTTP/1.1 301 Moved\r\nLocation: https://www.example.com/\r\n\r\n")


@contextmanager
def server(say: Say, left: Event | None = None) -> Iterator[int]:
    """A server that says this to everybody; yields its port.

    :param left: set when a client has closed its connection while the server still had something to say.
    """
    over = Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    try:
                        say(connection, over)
                    except OSError:
                        if left is not None:
                            left.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def probed(
    port: int, host: str | None = None, *, https: bool = False, seconds: float = LONG
) -> dict[str, Any]:
    """Return how a droplet's app answers, as a proxy asks it."""
    request = {
        "kind": "proxy",
        "ports": [],
        "unit": "haproxy.service",
        "files": [],
        "config": None,
        "certificates": [],
        "servers": [{"name": "one", "address": "127.0.0.1", "port": port}],
        "path": "/health",
        "host": host,
        "https": https,
        "pages": [],
        "page_server": None,
        "seconds": seconds,
    }
    found: dict[str, Any] = json.loads(run_facts([], request))["probes"]["one"]
    return found


@pytest.mark.parametrize(
    ("say", "status", "error"),
    [
        (never_ends, None, "ValueError: the answer's head is longer than 65536 bytes"),
        (hangs_up, None, "ValueError: the connection was closed before the answer's head had ended"),
        (speaks_otherwise, None, "ValueError: what came is not HTTP/1.1"),
        (answers_with_an_endless_body, 200, None),
        (redirects, 301, None),
    ],
)
def test_an_answer_of_an_app_is_read_to_the_end_of_its_head_and_no_further(
    say: Say, status: int | None, error: str | None
) -> None:
    left = Event()
    with server(say, left) as port:
        found = probed(port)
    assert (found["status"], found["error"]) == (status, error)
    assert found["revision"] == ("abc" if say is answers_with_an_endless_body else None)
    if say in (never_ends, answers_with_an_endless_body):
        until(left.is_set, "the connection is closed")


@pytest.mark.parametrize("say", [drips, says_nothing])
def test_an_answer_whose_head_does_not_end_is_given_up(say: Say) -> None:
    with server(say) as port:
        found = probed(port, seconds=5)
    assert (found["status"], found["revision"]) == (None, None)
    assert found["error"].startswith("TimeoutError: the answer's head did not end within ")


def test_an_app_is_asked_as_clients_ask() -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket, over: Event) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with server(listen) as port:
        assert probed(port, "www.example.com", https=True)["status"] == 204
    assert heard[0].startswith(b"GET /health HTTP/1.")
    assert b"\r\nHost: www.example.com\r\nX-Forwarded-Proto: https\r\n" in heard[0]


# Asks for something as nobody that takes for ever, and says which process does.
WAITING = """
import os, sys, time
sys.path.append(sys.argv[1])
from agent.facts.nobody import as_nobody
def wait():
    os.write(1, b"%d %d\\n" % (os.getpid(), os.geteuid()))
    time.sleep(1000)
as_nobody(1000, wait)
"""


@NEEDS_ROOT
def test_what_reads_as_nobody_ends_with_the_one_who_asked() -> None:
    command = [sys.executable, "-c", WAITING, str(AGENT_DIRECTORY.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        child, user = map(int, asking.stdout.readline().split())
        assert user == pwd.getpwnam("nobody").pw_uid
        asking.kill()
    until(lambda: not Path(f"/proc/{child}").exists(), "the process that reads has ended")
