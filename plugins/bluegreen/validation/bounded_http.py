"""GET requests whose answers are bounded in bytes and in time, whatever the other side does.

The read timeout of HTTP libraries applies to each read, so a server that sends one byte a second never
exceeds it. Heads are bounded by :mod:`http.client` itself: 100 lines of 64 KiB each.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 16

# The user has to name another path if a page is larger: reading it costs the machine that runs the task.
MAX_BYTES = 8 << 20


class NotConnectedError(Exception):
    """No connection was established, or it was closed before the first byte of an answer."""


@dataclass(frozen=True)
class Answer:
    """One answer, perhaps incomplete.

    :param status: HTTP status; ``None`` if the head did not arrive.
    :param size: bytes of the body that were read.
    :param revision: header ``X-Revision``.
    :param location: header ``Location``, the target of a redirect.
    :param error: why the answer is incomplete; ``None`` if it is complete.
    """

    status: int | None = None
    size: int = 0
    revision: str | None = None
    location: str | None = None
    error: str | None = None


class _PunctualSocket(socket.socket):
    """A socket all of whose reads end at one deadline, and not some time after the last byte."""

    deadline = 0.0

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*args)


class _PunctualConnection(http.client.HTTPConnection):
    """A connection all of whose waits end at ``deadline`` (seconds, monotonic)."""

    deadline = 0.0
    sock: _PunctualSocket | None

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), _left(self.deadline))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = _PunctualSocket(plain.family, plain.type, plain.proto, plain.detach())
        self.begin(self.deadline)

    def begin(self, deadline: float) -> None:
        """Set the deadline of the next request, on the existing connection or the next one."""
        self.deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline
            self.sock.settimeout(_left(deadline))


class BoundedHttp:
    """Sends requests, one at a time, over connections that are kept alive."""

    def __init__(self) -> None:
        self._connections: dict[str, _PunctualConnection] = {}

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()

    def get(self, server: str, path: str, headers: Mapping[str, str], timeout: float) -> Answer:
        """Make one GET request; an incomplete answer is a result, too.

        :param server: address, perhaps with a port.
        :param timeout: seconds for the whole request, from the connection to the last byte.
        :raises NotConnectedError: if there was no connection, and therefore no answer.
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
            # The rest of this answer would be read as the beginning of the next one.
            connection.close()
        return answer

    def _response(
        self, connection: _PunctualConnection, path: str, headers: Mapping[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        was_open = connection.sock is not None
        try:
            return self._send(connection, path, headers, deadline)
        except NotConnectedError:
            # A server may close a kept-alive connection at the moment of its next use.
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
                # http.client accepts an early end here, so compare with the Content-Length.
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
