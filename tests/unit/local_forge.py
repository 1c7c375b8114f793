"""The sandbox's forge on this machine, with its faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any

from aiohttp import web

from sandbox import git_http
from sandbox.api.faults import Fault, Faults, Handler
from sandbox.git_ssh import USER, SshForge


@dataclass
class Forge:
    """A forge.

    :param url: of a repository, without its name.
    :param asked: paths and queries that were asked for.
    :param ssh: its SSH server, with the deploy key and the known host.
    """

    url: str
    faults: Faults
    ssh: SshForge | None = None
    asked: list[str] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def ssh_url(self) -> str:
        """The same as :attr:`url`, over SSH."""
        assert self.ssh is not None
        return f"ssh://{USER}@{self.ssh.host}:{self.ssh.port}/git"

    def misbehave(self, kind: str, **about: Any) -> None:
        """Enable a fault."""
        fault = Fault.from_json({"kind": kind, **about})
        self._loop.call_soon_threadsafe(self.faults.add, fault)

    def behave(self) -> None:
        """End all faults."""
        self._loop.call_soon_threadsafe(self.faults.clear)


@contextmanager
def local_forge(
    repositories: Path, token: str = "", keys: Path | None = None, tls: SSLContext | None = None
) -> Iterator[Forge]:
    """Serve the bare repositories of a directory.

    :param token: the password for those below ``private/``.
    :param keys: directory for the keys of an SSH server; there is none without it.
    :param tls: serves https instead of http.
    """
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Forge] = []

    async def serve() -> None:
        faults = Faults()
        app = git_http.make_app(repositories, faults, token)
        forge = Forge("", faults, _loop=loop)

        @web.middleware
        async def remember(request: web.Request, handler: Handler) -> web.StreamResponse:
            forge.asked.append(request.path_qs)
            return await handler(request)

        app.middlewares.insert(0, remember)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        forge.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/git"
        if keys is not None:
            forge.ssh = SshForge("127.0.0.1", 0, repositories, faults, keys)
            await forge.ssh.start()
        found.append(forge)
        ready.set()
        await ended.wait()
        faults.clear()
        if forge.ssh is not None:
            await forge.ssh.stop()
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
