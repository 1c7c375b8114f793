"""The judge's client against servers that answer well, badly, half or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox.traffic_client import LONGEST_BODY, Client, Request
from sandbox.traffic_records import Outcome, Record

REVISION = "a" * 40
GET = Request("GET", "/")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(response: bytes) -> Handler:
    """A server that sends these bytes after each request's head, and then closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    return handle


def address_of(server: asyncio.Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()
    return host, port


def perform(handler: Handler, *requests: Request, timeout: float = 2) -> list[Record]:
    async def run() -> list[Record]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        client = Client(*address_of(server), timeout)
        try:
            return [await client.perform(request) for request in requests]
        finally:
            client.close()
            server.close()

    return asyncio.run(run())


def one(handler: Handler, request: Request = GET, timeout: float = 2) -> tuple[Outcome, str]:
    (record,) = perform(handler, request, timeout=timeout)
    return record.outcome, record.kind


def test_good_answer_with_its_color_and_revision() -> None:
    head = f"HTTP/1.1 200 OK\r\nX-Color: blue\r\nx-revision: {REVISION}\r\nContent-Length: 2\r\n\r\nhi"
    (record,) = perform(answering(head.encode()), GET)
    assert (record.outcome, record.status, record.color, record.revision) == (
        Outcome.OK,
        200,
        "blue",
        REVISION,
    )
    assert record.request == "GET /"


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (b"", "eof"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "short_body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "short_body"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "http_5xx"),
        (b"HTTP/1.0 408 Request Time-out\r\n\r\n", "http_4xx"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_response"),
    ],
)
def test_failures(response: bytes, kind: str) -> None:
    assert one(answering(response)) == (Outcome.FAILED, kind)


def test_an_answer_that_breaks_off_names_its_color_and_revision() -> None:
    head = f"HTTP/1.1 200 OK\r\nX-Color: blue\r\nX-Revision: {REVISION}\r\nContent-Length: 10\r\n\r\nhello"
    (record,) = perform(answering(head.encode()), GET)
    assert (record.kind, record.color, record.revision) == ("short_body", "blue", REVISION)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 400_000_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LONGEST_BODY + 1),
    ],
)
def test_a_body_that_no_client_could_keep_is_not_read(response: bytes) -> None:
    (record,) = perform(answering(response), GET)
    assert (record.kind, record.detail) == ("bad_response", "a body of more than 8 MiB")


def test_an_error_of_the_application_is_distinguished() -> None:
    head = f"HTTP/1.1 500 Oops\r\nX-Revision: {REVISION}\r\nContent-Length: 0\r\n\r\n"
    assert one(answering(head.encode())) == (Outcome.APP_ERROR, "")


def test_chunked_answer_is_put_together() -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    assert one(answering(chunks), Request("POST", "/echo", b"abcde")) == (Outcome.OK, "")


@pytest.mark.parametrize("body", [b"abc", b"abcdX", b""])
def test_echo_must_be_what_was_sent(body: bytes) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert one(answering(response), Request("POST", "/echo", b"abcde")) == (Outcome.FAILED, "wrong_body")


def test_no_answer_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    assert one(silent, timeout=0.2) == (Outcome.FAILED, "timeout")


def test_refused_connection() -> None:
    async def run() -> Record:
        server = await asyncio.start_server(answering(b""), "127.0.0.1", 0)
        address = address_of(server)
        server.close()
        await server.wait_closed()
        return await Client(*address, 2).perform(GET)

    assert asyncio.run(run()).kind == "refused"


def test_connection_is_kept_and_a_close_of_an_idle_one_is_a_failure() -> None:
    """The heart of the judge: the server closes between two requests, and the client does not look."""
    connections = 0

    async def closes_after_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    records = perform(closes_after_two, GET, GET, GET, GET)
    assert [record.outcome for record in records] == [Outcome.OK, Outcome.OK, Outcome.FAILED, Outcome.OK]
    assert records[2].kind in ("eof", "reset")
    assert connections == 2


def test_announced_close_is_no_failure() -> None:
    response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    records = perform(answering(response), GET, GET, GET)
    assert {record.outcome for record in records} == {Outcome.OK}
