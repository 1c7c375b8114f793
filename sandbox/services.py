"""The servers of a sandbox, and what makes each of them misbehave."""

from __future__ import annotations

import ssl
from typing import Protocol

from aiohttp import web

from sandbox.api.faults import Fault, Faults
from sandbox.errors import SandboxError

SERVICES = ("api", "forge", "cpan", "debian")


class Listener(Protocol):
    """What accepts connections at one address and port."""

    async def start(self) -> None:
        """Accept connections."""

    async def stop(self) -> None:
        """Refuse new connections; those that exist stay."""


class HttpListener:
    """A port of an aiohttp application.

    :param runner: the application's; it has been set up.
    :param context: for TLS.
    """

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, context: ssl.SSLContext | None = None
    ) -> None:
        self._runner = runner
        self._where = host, port
        self._context = context
        self._site: web.TCPSite | None = None

    async def start(self) -> None:
        """Accept connections."""
        self._site = web.TCPSite(self._runner, *self._where, ssl_context=self._context)
        await self._site.start()

    async def stop(self) -> None:
        """Refuse new connections; those that exist stay."""
        if self._site is not None:
            await self._site.stop()
            self._site = None


class Service:
    """One server of a sandbox: its ports and its faults.

    :param faults: the faults that the server looks at.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._listeners: list[Listener] = []
        self._is_away = False

    async def listen(self, *listeners: Listener) -> None:
        """Accept connections, and let the fault ``away`` end that."""
        for listener in listeners:
            await listener.start()
        self._listeners.extend(listeners)

    async def add(self, fault: Fault) -> None:
        """Enable a fault.

        :raises SandboxError: if the service cannot be away, because the sandbox is controlled through it.
        """
        if fault.kind == "away" and not self._is_away:
            if not self._listeners:
                raise SandboxError("the API cannot be away: the sandbox is controlled at the same port")
            self._is_away = True
            for listener in self._listeners:
                await listener.stop()
        self.faults.add(fault)

    async def clear(self) -> None:
        """End all faults."""
        self.faults.clear()
        if self._is_away:
            self._is_away = False
            for listener in self._listeners:
                await listener.start()


async def runner_of(app: web.Application) -> web.AppRunner:
    """Return an application that is ready to be given ports."""
    runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
    await runner.setup()
    return runner
