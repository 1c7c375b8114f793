"""What the traffic judge asks for."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

from sandbox.traffic import Traffic, run

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def asked(*paths: str) -> Counter[str]:
    """Return the requests that a server has got after twenty answers."""
    seen: list[str] = []
    enough = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not enough.is_set():
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if length := re.search(r"Content-Length: (\d+)", head):
                await reader.readexactly(int(length[1]))
            seen.append(head.partition(" HTTP/")[0])
            writer.write(ANSWER)
            await writer.drain()
            if len(seen) >= 20:
                enough.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    traffic = Traffic(f"http://127.0.0.1:{port}/shop/", clients=2, think=0, duration=30, paths=paths)
    await run(traffic, enough)
    server.close()
    return Counter(seen)


def test_an_app_of_any_kind_is_asked_for_the_given_paths_in_turn() -> None:
    requests = asyncio.run(asked("/", "/news?page=2"))
    assert set(requests) == {"GET /shop/", "GET /shop/news?page=2"}
    assert min(requests.values()) >= 8


def test_the_sample_app_is_asked_for_all_that_it_has() -> None:
    requests = asyncio.run(asked())
    assert set(requests) == {"GET /shop/", "GET /shop/version", "POST /shop/echo"}
