"""The faults that concern a whole server, or the bytes that it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sandbox.api.faults import Fault, Faults, FileAnswer
from sandbox.errors import SandboxError
from sandbox.services import HttpListener, Service, runner_of

CONTENT = bytes(range(200))


def with_service(directory: Path, check: Callable[[Service, str], Awaitable[None]]) -> None:
    """Run a check against a service that serves one file."""
    file = directory / "file"
    file.write_bytes(CONTENT)

    async def run() -> None:
        service = Service(Faults())

        async def answer(request: web.Request) -> web.StreamResponse:
            async def found(_request: web.Request) -> web.StreamResponse:
                return FileAnswer(file)

            return await service.faults.handle(request, found)

        app = web.Application()
        app.add_routes([web.get("/file", answer)])
        runner = await runner_of(app)
        # A port that is free, and stays the service's own while it is away.
        probe = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await service.listen(HttpListener(runner, "127.0.0.1", port))
        try:
            await check(service, f"http://127.0.0.1:{port}/file")
        finally:
            await runner.cleanup()

    asyncio.run(run())


async def content_of(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.read()


def test_a_service_that_is_away_refuses_connections_until_its_faults_are_cleared(tmp_path: Path) -> None:
    async def check(service: Service, url: str) -> None:
        async with aiohttp.ClientSession() as kept:
            async with kept.get(url) as answer:
                await answer.read()
            for _ in range(2):
                await service.add(Fault("away"))
            with pytest.raises(aiohttp.ClientConnectorError):
                await content_of(url)
            with pytest.raises(aiohttp.ClientError):
                await kept.get(url)
        await service.clear()
        assert await content_of(url) == CONTENT

    with_service(tmp_path, check)


def test_an_altered_file_differs_in_one_byte(tmp_path: Path) -> None:
    async def check(service: Service, url: str) -> None:
        await service.add(Fault("altered", count=1))
        altered = await content_of(url)
        assert len(altered) == len(CONTENT)
        assert sum(one != other for one, other in zip(altered, CONTENT, strict=True)) == 1
        assert await content_of(url) == CONTENT

    with_service(tmp_path, check)


def test_a_file_that_is_cut_ends_too_early(tmp_path: Path) -> None:
    async def check(service: Service, url: str) -> None:
        await service.add(Fault("cut", path="/file", count=1))
        with pytest.raises(aiohttp.ClientPayloadError):
            await content_of(url)
        assert await content_of(url) == CONTENT

    with_service(tmp_path, check)


def test_the_api_cannot_be_away() -> None:
    async def add() -> None:
        await Service(Faults()).add(Fault("away"))

    with pytest.raises(SandboxError, match="the API cannot be away"):
        asyncio.run(add())
