"""Delays to a machine: a TCP relay that holds every packet back, for kernels without netem."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time

from sandbox import network
from sandbox.network import Network

CHUNK = 64 * 1024
SO_ORIGINAL_DST = 80
log = logging.getLogger(__name__)


class Delays:
    """The delays of one sandbox. A delay applies to connections opened afterwards, and ends for all at once.

    :param net: the sandbox's network.
    """

    def __init__(self, net: Network) -> None:
        self._network = net
        self._seconds: dict[str, float] = {}
        self._server: asyncio.Server | None = None

    async def set(self, address: str, seconds: float) -> None:
        """Add to the round trips of TCP connections to an address."""
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, self._network.gateway, 0)
        self._seconds[address] = seconds
        port = self._server.sockets[0].getsockname()[1]
        await asyncio.to_thread(network.stop_redirecting, self._network, address)
        await asyncio.to_thread(network.redirect, self._network, address, port)

    async def end(self, address: str) -> None:
        """Stop delaying an address."""
        self._seconds.pop(address, None)
        await asyncio.to_thread(network.stop_redirecting, self._network, address)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = _original_destination(writer.get_extra_info("socket"))
        try:
            far_reader, far_writer = await asyncio.open_connection(
                address, port, local_addr=(self._network.relay, 0)
            )
        except OSError as error:
            log.info("relay to %s:%s: %s", address, port, error)
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_on(reader, far_writer, address))
                directions.create_task(self._pass_on(far_reader, writer, address))
        except* OSError:
            writer.transport.abort()
            far_writer.transport.abort()
        finally:
            for end in (writer, far_writer):
                end.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        """Relay one direction, each chunk half a round trip late."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def read() -> None:
            data = b"-"
            while data:
                data = await reader.read(CHUNK)
                await pieces.put((time.monotonic() + self._seconds.get(address, 0) / 2, data))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(due - time.monotonic())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _original_destination(connection: socket.socket) -> tuple[str, int]:
    """Return the original destination of a redirected connection."""
    packed = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", packed)
    return socket.inet_ntoa(address), port
