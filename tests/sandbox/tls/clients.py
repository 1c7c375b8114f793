"""Clients by https that keep their connections alive, and what became of each request."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.waiting import until

NAME = "www.example.com"
# Requests on one connection: then another handshake shows whichever certificate there is.
REQUESTS_A_CONNECTION = 40
PAUSE = 0.05
CLIENTS = 4


@dataclass
class Seen:
    """What clients have seen.

    :param requests: that were begun.
    :param failures: one line for each that was not answered with 200.
    :param handshakes: that were made.
    """

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    handshakes: int = 0


class _Client(threading.Thread):
    """Writes its next request without looking whether the connection is still open, as most clients do."""

    def __init__(self, address: str, context: ssl.SSLContext, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.context, self.over = address, context, over
        self.seen = Seen()

    def run(self) -> None:
        """Ask until it is over."""
        while not self.over.is_set():
            try:
                with (
                    socket.create_connection((self.address, 443), 10) as plain,
                    self.context.wrap_socket(plain, server_hostname=NAME) as secure,
                ):
                    self.seen.handshakes += 1
                    self._use(secure)
            except (OSError, HTTPException) as error:
                self.seen.failures.append(f"{self.address}: {type(error).__name__}: {error}")
                time.sleep(PAUSE)

    def _use(self, secure: ssl.SSLSocket) -> None:
        connection = HTTPConnection(NAME)
        connection.sock, connection.auto_open = secure, 0
        for _ in range(REQUESTS_A_CONNECTION):
            self.seen.requests += 1
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status != HTTPStatus.OK:
                self.seen.failures.append(f"{self.address}: status {answer.status}")
            if answer.will_close or self.over.wait(PAUSE):
                return


class _Http2(threading.Thread):
    """curl, with one connection by HTTP/2."""

    def __init__(self, address: str, trusted: Path, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.over = over
        self.seen = Seen()
        shown = "%{http_version} %{http_code} %{num_connects} %{errormsg}\\n"
        self.command = [
            *(
                "curl",
                "--silent",
                "--http2",
                "--cacert",
                str(trusted),
                "--rate",
                "10/s",
                "--output",
                "/dev/null",
            ),
            *("--resolve", f"{NAME}:443:{address}", "--write-out", shown, "--max-time", "10"),
            f"https://{NAME}/?[1-100000]",
        ]

    def run(self) -> None:
        """Ask until it is over."""
        with subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            for line in curl.stdout:
                self.seen.requests += 1
                version, status, connects, *_ = line.split()
                self.seen.handshakes += int(connects)
                if (version, status) != ("2", "200"):
                    self.seen.failures.append(f"HTTP/2: {line.strip()}")
                if self.over.is_set():
                    curl.kill()
                    return


@contextmanager
def https_clients(addresses: Sequence[str], trusted: Path) -> Iterator[Seen]:
    """Ask some proxies by https all the time, by HTTP/1.1 and HTTP/2; in the end it is known what was seen.

    :param trusted: the certificate of the authority that issues theirs.
    """
    over, total = threading.Event(), Seen()
    context = ssl.create_default_context(cafile=str(trusted))
    clients: list[_Client | _Http2] = [
        _Client(address, context, over) for address in addresses for _ in range(CLIENTS)
    ]
    clients += [_Http2(address, trusted, over) for address in addresses]
    for client in clients:
        client.start()
    try:
        until(lambda: all(one.seen.requests > 5 for one in clients), "there is traffic")
        yield total
    finally:
        over.set()
        for client in clients:
            client.join(30)
    total.requests = sum(one.seen.requests for one in clients)
    total.handshakes = sum(one.seen.handshakes for one in clients)
    total.failures = [line for one in clients for line in one.seen.failures]
    print(
        f"{total.requests:,} requests by https, {len(total.failures)} failed, {total.handshakes} handshakes"
    )
