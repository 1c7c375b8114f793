"""Clients whose requests outlive a switch."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

BYTES = 1_000_000
UPGRADE = b"GET /upgrade HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


@dataclass(frozen=True)
class Download:
    """What a client got.

    :param size: bytes of the body.
    """

    color: str
    size: int
    seconds: float


class Clients:
    """Clients with patience.

    :param address: the proxy's.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._pool = ThreadPoolExecutor()

    def download(self, seconds: int) -> Future[Download]:
        """Start a download; return when its answer has begun."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        began = time.monotonic()
        connection.request("GET", f"/stream?seconds={seconds}&bytes={BYTES}")
        response = connection.getresponse()
        assert response.status == 200

        def finish() -> Download:
            size = 0
            with closing(connection), suppress(ConnectionError):
                while part := response.read1():
                    size += len(part)
            return Download(response.headers["X-Color"], size, time.monotonic() - began)

        return self._pool.submit(finish)

    @contextmanager
    def upgraded(self) -> Iterator[socket.socket]:
        """A connection that has stopped being HTTP."""
        with socket.create_connection((self.address, 80), timeout=30) as connection:
            connection.sendall(UPGRADE)
            assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
            yield connection
