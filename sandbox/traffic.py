"""The traffic judge: clients that keep asking an address, and account for every request they started."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.traffic_client import Client, Request
from sandbox.traffic_records import Record, summarize

FLUSH_INTERVAL = 0.1
LONGEST_ECHO = 4096


@dataclass(frozen=True)
class Traffic:
    """How much traffic to make, and where.

    :param url: base address, ``http://host[:port][/prefix]``.
    :param clients: number of clients, each with one connection and one request at a time.
    :param think: seconds that a client waits after an answer, on average.
    :param duration: seconds after which no further request is started.
    :param timeout: seconds for one request.
    :param paths: with GET, in turn; by default the sample app's: ``/``, ``/version``, and POST to ``/echo``.
    :param records: file to write each request's record to as it ends; default: none.
    """

    url: str
    clients: int = 40
    think: float = 0.08
    duration: float = 60
    timeout: float = 10
    paths: Sequence[str] = ()
    records: Path | None = None


class _Log:
    """Keeps the records, and writes them to the file in whole lines, a few times a second."""

    def __init__(self, path: Path | None) -> None:
        self.records: list[Record] = []
        self._written = 0
        self._file = path.open("wb") if path else None

    def flush(self) -> None:
        if self._file and self._written < len(self.records):
            new = self.records[self._written :]
            self._file.write("".join(record.line() for record in new).encode())
            self._file.flush()
            self._written += len(new)

    async def flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            self.flush()

    def close(self) -> None:
        self.flush()
        if self._file:
            self._file.close()


class _Turns:
    """One client's requests, one after another.

    :param prefix: of every path.
    :param paths: as in :class:`Traffic`.
    :param number: the client's.
    """

    def __init__(self, prefix: str, paths: Sequence[str], number: int) -> None:
        self.source = random.Random(number)  # noqa: S311
        self._prefix = prefix
        self._paths = paths
        self._turn = number

    def next(self) -> Request:
        turn, self._turn = self._turn, self._turn + 1
        if self._paths:
            return Request("GET", self._prefix + self._paths[turn % len(self._paths)])
        match turn % 3:
            case 0:
                return Request("GET", f"{self._prefix}/")
            case 1:
                return Request("GET", f"{self._prefix}/version")
            case _:
                body = self.source.randbytes(self.source.randint(1, LONGEST_ECHO))
                return Request("POST", f"{self._prefix}/echo", body)


async def run(traffic: Traffic, stop: asyncio.Event) -> dict[str, Any]:
    """Make traffic until the duration is over or ``stop`` is set; requests in flight are always finished.

    :return: the result as plain data: the :class:`sandbox.traffic_records.Summary` of all requests, with
        ``url``, ``clients``, ``started`` and ``ended`` (seconds since the epoch).
    :raises ValueError: if the URL is none that the judge can ask.
    :raises OSError: if the records file cannot be written.
    """
    host, port, prefix = _address(traffic.url)
    log = _Log(traffic.records)
    started = time.time()
    flushing = asyncio.create_task(log.flush_regularly())
    ending = asyncio.get_running_loop().call_later(traffic.duration, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(traffic.clients):
                client = Client(host, port, traffic.timeout)
                turns = _Turns(prefix, traffic.paths, number)
                group.create_task(_keep_asking(client, turns, traffic.think, stop, log.records))
    finally:
        ending.cancel()
        flushing.cancel()
        log.close()
    return {
        "url": traffic.url,
        "clients": traffic.clients,
        "started": started,
        "ended": time.time(),
        **summarize(log.records).as_json(),
    }


async def _keep_asking(
    client: Client, turns: _Turns, think: float, stop: asyncio.Event, records: list[Record]
) -> None:
    # Each client begins somewhere else in its pause and in the round of requests: no marching in step.
    await _pause(stop, turns.source.uniform(0, think))
    while not stop.is_set():
        records.append(await client.perform(turns.next()))
        await _pause(stop, turns.source.uniform(0.5 * think, 1.5 * think))
    client.close()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


def _address(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} cannot be asked; give http://host[:port]/")
    return parts.hostname, parts.port or 80, parts.path.rstrip("/")
