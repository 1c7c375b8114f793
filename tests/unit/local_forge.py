"""The sandbox's git server on this machine, with its faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox import git_http
from sandbox.api.faults import Fault, Faults, Handler


@dataclass
class Forge:
    """A git server.

    :param url: of a repository, without its name.
    :param asked: paths and queries that were asked for.
    """

    url: str
    faults: Faults
    asked: list[str] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def misbehave(self, kind: str, **about: Any) -> None:
        """Put a fault in force."""
        fault = Fault.from_json({"kind": kind, **about})
        self._loop.call_soon_threadsafe(self.faults.add, fault)

    def behave(self) -> None:
        """End all faults."""
        self._loop.call_soon_threadsafe(self.faults.clear)


@contextmanager
def local_forge(repositories: Path) -> Iterator[Forge]:
    """Serve the bare repositories of a directory."""
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Forge] = []

    async def serve() -> None:
        faults = Faults()
        app = git_http.make_app(repositories, faults)
        forge = Forge("", faults, _loop=loop)

        @web.middleware
        async def remember(request: web.Request, handler: Handler) -> web.StreamResponse:
            forge.asked.append(request.path_qs)
            return await handler(request)

        app.middlewares.insert(0, remember)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}/git"
        found.append(forge)
        ready.set()
        await ended.wait()
        faults.clear()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
