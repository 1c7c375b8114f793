"""One HTTP question to an app, and the head of its answer: bounded in time and bytes."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.fields import HOST, PATH, text
from agent.protocol import AgentError, Code, Probe, QuestionRecord
from agent.system import since_boot

# Bytes of an answer's head.
HEAD_LIMIT = 1 << 16
# Characters that are kept of a header.
HEADER_LIMIT = 100


@dataclass(frozen=True)
class Question:
    """How an app is asked: for which path, by which host and scheme. It answers as it does to its clients.

    :param host: of the ``Host`` header; the address that is asked if there is none.
    :param https: whether the request looks as if its client came by https (``X-Forwarded-Proto``).
    :param statuses: those of a good answer; 200 to 299 if there are none.
    """

    path: str
    host: str | None = None
    https: bool = False
    statuses: tuple[int, ...] = ()

    @classmethod
    def of(cls, request: Mapping[str, Any], path_key: str = "path") -> Question:
        """Read it from a request.

        :param path_key: the request's key of the path.
        :raises AgentError: with the code ``bad_request``.
        """
        host, https, statuses = (request.get(key) for key in ("host", "https", "statuses"))
        if https not in (None, True, False):
            raise AgentError(Code.BAD_REQUEST, f"https: {https!r:.60} is not true or false")
        if statuses is not None and not (
            isinstance(statuses, list)
            and all(type(status) is int and 100 <= status <= 599 for status in statuses)
        ):
            raise AgentError(Code.BAD_REQUEST, f"statuses: {statuses!r:.60} is no list of HTTP statuses")
        named = None if host is None else text(request, "host", HOST)
        return cls(text(request, path_key, PATH), named, bool(https), tuple(statuses or ()))

    @property
    def good(self) -> str:
        """The statuses of a good answer, for people."""
        first, last = (self.statuses[0], self.statuses[-1]) if self.statuses else (200, 299)
        is_range = not self.statuses or self.statuses == tuple(range(first, last + 1))
        return f"{first} to {last}" if is_range and first < last else " or ".join(map(str, self.statuses))

    def as_json(self) -> QuestionRecord:
        """Return what :meth:`of` makes the same question of."""
        return {"path": self.path, "host": self.host, "https": self.https, "statuses": list(self.statuses)}

    def is_good(self, answer: Probe) -> bool:
        """Whether an answer has the status of a healthy app."""
        status = answer["status"]
        if status is None:
            return False
        return status in self.statuses if self.statuses else 200 <= status < 300

    def lines_for(self, address: str) -> bytes:
        """Return the request, for a connection that is used once."""
        lines = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {self.host or address}",
            f"X-Forwarded-Proto: {'https' if self.https else 'http'}",
            "User-Agent: bluegreen-agent",
            "Connection: close",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def http_get(address: str, port: int, question: Question, seconds: float) -> Probe:
    """Make one GET on a new connection, and read the answer's head. No answer is a result, too.

    :param seconds: for all of it, from the connection to the end of the head.
    """
    answer: Probe = {"status": None, "revision": None, "color": None, "error": None, "milliseconds": 0.0}
    began = since_boot()
    try:
        with socket.create_connection((address, port), seconds) as connection:
            connection.sendall(question.lines_for(address))
            answer["status"], headers = read_head(connection, began + seconds)
        answer["revision"] = _bounded(headers.get("X-Revision"))
        answer["color"] = _bounded(headers.get("X-Color"))
    except TimeoutError:
        answer["error"] = f"TimeoutError: the answer's head did not end within {seconds:.1f} s"
    except (OSError, ValueError) as error:
        answer["error"] = f"{type(error).__name__}: {error}"[:HEADER_LIMIT]
    answer["milliseconds"] = round((since_boot() - began) * 1000, 1)
    return answer


def read_head(connection: socket.socket, until: float) -> tuple[int, Any]:
    """Status and headers of an answer; interim ones (1xx) are passed over, and its body is left alone.

    :raises TimeoutError: if the head has not ended at a moment (seconds since the boot).
    :raises ValueError: if it is longer than ``HEAD_LIMIT``, ends too early, or is not HTTP's.
    """
    received = begin = 0
    data = b""
    while True:
        end = re.compile(rb"\r?\n\r?\n").search(data, max(begin, received - 4))
        if end:
            found = re.match(rb"HTTP/1\.[01] ([1-5][0-9]{2})\b[^\n]*\n", data[begin : end.end()])
            if not found:
                raise ValueError("what came is not HTTP/1.1")
            if found[1][:1] != b"1":
                return int(found[1]), _headers_in(data[begin + found.end() : end.end()])
            begin = received = end.end()
            continue
        received = len(data)
        if received >= HEAD_LIMIT:
            raise ValueError(f"the answer's head is longer than {HEAD_LIMIT} bytes")
        left = until - since_boot()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(HEAD_LIMIT - received)
        if not part:
            raise ValueError("the connection was closed before the answer's head had ended")
        data += part


def _headers_in(lines: bytes) -> Any:
    """Return the headers of an answer.

    :raises ValueError: if they cannot be read.
    """
    # Imported here: most calls of the agent ask no app, and importing this is a fifth of their work.
    import http.client

    try:
        return http.client.parse_headers(io.BytesIO(lines))
    except http.client.HTTPException as error:
        raise ValueError(f"its head cannot be read: {error}") from None


def answered(answer: Probe) -> bool:
    """Whether an app has answered, if only that it does not know the path."""
    return answer["status"] is not None and answer["status"] < 500


def _bounded(value: str | None) -> str | None:
    return value if value is None else value[:HEADER_LIMIT]
