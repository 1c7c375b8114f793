"""A WebSocket, as far as tests need one: it is opened, and sends a short text back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from tests.unit.served_release import ServedRelease

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
# Any will do (RFC 6455, section 5.3).
MASK = b"\1\2\3\4"


@contextmanager
def opened(release: ServedRelease) -> Iterator[tuple[socket, str]]:
    """Open the one at ``/echo``; return the connection, and the head of the answer."""
    with release.connection("/echo", HANDSHAKE) as connection:
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(4096)
            assert part, f"it is closed after {answer!r}"
            answer += part
        yield connection, answer.decode()


def echoed(connection: socket, text: bytes = b"hello") -> bool:
    """Send a text of fewer than 126 bytes, and return whether it comes back."""
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(text))
    connection.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + MASK + masked)
    return connection.recv(4096) == struct.pack("!BB", 0x81, len(text)) + text
