"""One client of the traffic judge: raw HTTP/1.1 over a kept-alive connection.

The client is *blind*: it writes its next request without first looking whether the server has closed the
connection meanwhile. On a real network most clients are, because the close is still on its way. An HTTP
library would look, and silently try again, and so hide exactly the failures that are to be counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.traffic_records import Outcome, Record

READ_LIMIT = 1 << 20
# The largest body that is read: forty clients must fit into memory, whatever an app sends.
LONGEST_BODY = 8 << 20


class RequestFailedError(Exception):
    """A request got no proper answer.

    :param kind: see :class:`sandbox.traffic_records.Record`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Request:
    """A request to send; the app must return a given body unchanged."""

    method: str
    path: str
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def encode(self, host: str) -> bytes:
        """The request as it goes over the wire."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: traffic-judge\r\n"
        if self.method == "POST":
            head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


@dataclass(frozen=True)
class Response:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reusable: bool


@dataclass(frozen=True)
class _Head:
    """The head of an answer; header names are in lower case."""

    version: str
    status: int
    headers: Mapping[str, str]

    @property
    def keeps_connection(self) -> bool:
        connection = self.headers.get("connection", "").lower()
        return connection != "close" if self.version == "HTTP/1.1" else connection == "keep-alive"


class Client:
    """Sends requests one after the other over one connection, which it opens again only when it must.

    :param timeout: seconds for a whole request, connecting included.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        # The head of the current answer, once it is complete: it shows which side broke off.
        self._head: _Head | None = None

    async def perform(self, request: Request) -> Record:
        """Send one request and account for it; never raises for anything the network or the server does."""
        start = time.time()
        began = time.perf_counter()
        response: Response | None = None
        self._head = None
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._exchange(request)
            outcome, kind, detail = _judge(request, response)
        except TimeoutError:
            outcome, kind, detail = Outcome.FAILED, "timeout", f"no whole answer within {self._timeout:g} s"
        except RequestFailedError as error:
            outcome, kind, detail = Outcome.FAILED, error.kind, str(error)
        except OSError as error:
            outcome, kind, detail = Outcome.FAILED, _kind_of(error), str(error)
        if response is None or not response.reusable:
            self.close()
        return Record(
            start=round(start, 6),
            duration_ms=round((time.perf_counter() - began) * 1000, 3),
            outcome=outcome,
            kind=kind,
            request=str(request),
            status=response.status if response else 0,
            color=self._header("x-color"),
            revision=self._header("x-revision"),
            detail=detail,
        )

    def close(self) -> None:
        """Forget the connection."""
        if self._streams:
            self._streams[1].close()
        self._streams = None

    def _header(self, name: str) -> str:
        return self._head.headers.get(name, "") if self._head else ""

    async def _exchange(self, request: Request) -> Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=READ_LIMIT)
        reader, writer = self._streams
        writer.write(request.encode(f"{self._host}:{self._port}"))
        while (head := await _read_head(reader)).status < 200:
            pass
        self._head = head
        body, delimited = await _read_body(reader, head)
        return Response(head.status, head.headers, body, reusable=delimited and head.keeps_connection)


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise RequestFailedError("short_body", "the connection ended in the response's head") from None
        raise RequestFailedError("eof", "the connection ended instead of a response") from None
    except asyncio.LimitOverrunError:
        raise RequestFailedError("bad_response", "the response's head is too long") from None
    status_line, *header_lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    try:
        version, status = status_line.split(" ", 2)[:2]
        pairs = [line.split(":", 1) for line in header_lines]
        return _Head(version, int(status), {name.strip().lower(): value.strip() for name, value in pairs})
    except ValueError:
        raise RequestFailedError("bad_response", f"not HTTP: {status_line[:80]!r}") from None


async def _read_body(reader: asyncio.StreamReader, head: _Head) -> tuple[bytes, bool]:
    """Return the body, and whether a length or a last chunk marked its end."""
    if head.status in (204, 304):
        return b"", True
    try:
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            return await _read_chunks(reader), True
        if "content-length" in head.headers:
            return await reader.readexactly(_bounded(int(head.headers["content-length"]))), True
        return await _read_to_end(reader), False
    except asyncio.IncompleteReadError as error:
        missing = f" ({len(error.partial)} of {error.expected} bytes)" if error.expected else ""
        raise RequestFailedError("short_body", f"the connection ended in the body{missing}") from None
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise RequestFailedError("bad_response", f"not HTTP: {error}") from None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(_bounded(len(body) + size) - len(body) + 2)
        if size == 0:
            return body
        body += chunk[:-2]


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while part := await reader.read(READ_LIMIT):
        body += part
        _bounded(len(body))
    return body


def _bounded(size: int) -> int:
    if size > LONGEST_BODY:
        raise RequestFailedError("bad_response", f"a body of more than {LONGEST_BODY >> 20} MiB")
    return size


def _judge(request: Request, response: Response) -> tuple[Outcome, str, str]:
    """Return outcome, kind and detail; an error is the application's only if the answer has a revision."""
    if response.status >= 400:
        if "x-revision" in response.headers:
            return Outcome.APP_ERROR, "", ""
        kind = f"http_{response.status // 100}xx"
        return Outcome.FAILED, kind, f"status {response.status} without X-Revision"
    if request.body and response.body != request.body:
        got = f"{len(response.body)} bytes" if len(response.body) != len(request.body) else "other content"
        return Outcome.FAILED, "wrong_body", f"sent {len(request.body)} bytes, got back {got}"
    return Outcome.OK, "", ""


def _kind_of(error: OSError) -> str:
    match error:
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return "reset"
        case _:
            return "unreachable"
