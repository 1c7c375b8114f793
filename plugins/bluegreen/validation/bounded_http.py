"""GET requests whose answers are bounded in bytes and in time, whatever the other side does.

A limit for each byte, as HTTP libraries have it, is none: who sends one byte a second is never late.
Heads are bounded by :mod:`http.client` itself: 100 lines of 64 KiB each.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 16

# An app whose pages are larger is asked for another path: what is read costs the machine that asks.
MAX_BYTES = 8 << 20


class NotConnectedError(Exception):
    """No connection came about, or it was closed before the first byte of an answer."""


@dataclass(frozen=True)
class Answer:
    """One answer, or what there was of it.

    :param status: HTTP status; ``None`` if its head did not come.
    :param size: bytes of the body that were read.
    :param revision: header ``X-Revision``.
    :param location: header ``Location``, where a redirect leads.
    :param error: why the answer is not whole; ``None`` if it is.
    """

    status: int | None = None
    size: int = 0
    revision: str | None = None
    location: str | None = None
    error: str | None = None


class _PunctualSocket(socket.socket):
    """Whatever waits for bytes waits until one moment at most, and not until so long after the last byte."""

    deadline = 0.0

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*args)


class _PunctualConnection(http.client.HTTPConnection):
    """A connection all of whose waiting ends at ``deadline`` (seconds, monotonic)."""

    deadline = 0.0
    sock: _PunctualSocket | None

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), _left(self.deadline))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = _PunctualSocket(plain.family, plain.type, plain.proto, plain.detach())
        self.begin(self.deadline)

    def begin(self, deadline: float) -> None:
        """Set until when the next request may take, on the connection that there is, or the next one."""
        self.deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline
            self.sock.settimeout(_left(deadline))


class BoundedHttp:
    """Asks servers, one request at a time, over connections that are kept alive."""

    def __init__(self) -> None:
        self._connections: dict[str, _PunctualConnection] = {}

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()

    def get(self, server: str, path: str, headers: Mapping[str, str], timeout: float) -> Answer:
        """Make one GET request; what becomes of the answer is part of the result.

        :param server: address, perhaps with a port.
        :param timeout: seconds for all of it, from the connection to the last byte.
        :raises NotConnectedError: if nobody answered for want of a connection.
        """
        deadline = time.monotonic() + timeout
        connection = self._connections.setdefault(server, _PunctualConnection(server))
        try:
            response = self._response(connection, path, headers, deadline)
        except TimeoutError:
            return Answer(error=f"no answer after {timeout:g} s")
        except http.client.HTTPException as error:
            return Answer(error=f"no HTTP: {type(error).__name__}")
        answer = self._read(response, deadline, timeout)
        response.close()
        if answer.error:
            # What is left of it would be taken for the next one.
            connection.close()
        return answer

    def _response(
        self, connection: _PunctualConnection, path: str, headers: Mapping[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        was_open = connection.sock is not None
        try:
            return self._send(connection, path, headers, deadline)
        except NotConnectedError:
            # A server may close a connection that it has kept alive at the moment it is used again.
            if not was_open:
                raise
        return self._send(connection, path, headers, deadline)

    @staticmethod
    def _send(
        connection: _PunctualConnection, path: str, headers: Mapping[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        is_connected = False
        try:
            connection.begin(deadline)
            if connection.sock is None:
                connection.connect()
            is_connected = True
            connection.request("GET", path, headers=dict(headers))
            return connection.getresponse()
        except OSError as error:
            connection.close()
            if is_connected and isinstance(error, TimeoutError):
                raise
            raise NotConnectedError(type(error).__name__) from None
        except http.client.HTTPException:
            connection.close()
            raise

    @staticmethod
    def _read(response: http.client.HTTPResponse, deadline: float, timeout: float) -> Answer:
        size, error = 0, None
        try:
            while part := response.read1(CHUNK):
                size += len(part)
                if size > MAX_BYTES:
                    error = f"is larger than {MAX_BYTES >> 20} MiB"
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError
            else:
                # By its Content-Length; http.client takes an early end for the end here.
                error = f"ended {response.length} bytes early" if response.length else None
        except TimeoutError:
            error = f"was not whole after {timeout:g} s"
        except (OSError, http.client.HTTPException) as failure:
            error = f"broke off: {type(failure).__name__}"
        return Answer(
            status=response.status,
            size=size,
            revision=response.headers.get("X-Revision"),
            location=response.headers.get("Location"),
            error=error and f"status {response.status}, but the body {error}",
        )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
