"""Application servers that answer in order to do harm: slowly, endlessly, hugely, or not at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket, bytes], None]

HEAD = b"HTTP/1.1 200 OK\r\nX-Revision: %b\r\n"
CHUNK = b"x" * (1 << 16)


class HostileServer:
    """A server that answers every request as ``answer`` does; closed, it lets go of all connections.

    :param answer: gets the connection and the request's head.
    """

    def __init__(self, address: str, port: int, answer: Answer) -> None:
        self.answer = answer
        self.gone = threading.Event()
        self.asked = 0
        self._listener = socket.create_server((address, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on, and end what is being answered."""
        self.gone.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def drip(self, connection: socket.socket, data: bytes) -> None:
        """Send a byte, and the next one much later, for ever."""
        for number in range(1 << 30):
            connection.sendall(data[number % len(data) :][:1])
            if self.gone.wait(0.3):
                return

    def flood(self, connection: socket.socket, part: bytes) -> None:
        """Send as much as is taken, for ever."""
        while not self.gone.is_set():
            connection.sendall(part)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                part = connection.recv(4096)
                if not part:
                    return
                request += part
            self.asked += 1
            self.answer(connection, request)


def healthy(revision: str) -> bytes:
    """Return a whole answer, as a good app gives it."""
    return HEAD % revision.encode() + b"Content-Length: 0\r\n\r\n"


def dripping_body(server: HostileServer, connection: socket.socket, revision: str) -> None:
    """Answer with a good head and a body that comes byte by byte."""
    connection.sendall(HEAD % revision.encode() + b"Content-Length: 1000000\r\n\r\n")
    server.drip(connection, b"x")


def huge_body(server: HostileServer, connection: socket.socket, revision: str) -> None:
    """Answer with a good head and a body without an end."""
    connection.sendall(HEAD % revision.encode() + b"\r\n")
    server.flood(connection, CHUNK)


def dripping_head(server: HostileServer, connection: socket.socket, _revision: str) -> None:
    """Answer with a head that comes byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    server.drip(connection, b"X-Drop: 1\r\n")


def endless_head(server: HostileServer, connection: socket.socket, _revision: str) -> None:
    """Answer with a head without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    server.flood(connection, b"X-Line: " + b"x" * 1000 + b"\r\n")


def silence(server: HostileServer, _connection: socket.socket, _revision: str) -> None:
    """Take the request, and say nothing."""
    server.gone.wait()


def not_http(_server: HostileServer, connection: socket.socket, _revision: str) -> None:
    """Answer with something else."""
    connection.sendall(b"220 mail.example.com ESMTP\r\n\r\n")


Harm = Callable[[HostileServer, socket.socket, str], None]


@contextlib.contextmanager
def hostile_server(
    address: str, port: int, revision: str, harm: Harm, asked_by: bytes = b""
) -> Iterator[HostileServer]:
    """Serve answers that do harm.

    :param revision: what heads name.
    :param asked_by: what the head of a request has to contain, in small letters, to get such an answer. Other
        requests get a good one.
    """
    server: HostileServer

    def answer(connection: socket.socket, request: bytes) -> None:
        if asked_by in request.lower():
            harm(server, connection, revision)
        else:
            connection.sendall(healthy(revision))

    server = HostileServer(address, port, answer)
    try:
        yield server
    finally:
        server.close()
