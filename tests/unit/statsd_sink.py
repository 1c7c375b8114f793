"""A StatsD daemon that only listens."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self


class Sink:
    """Hears what is sent to it from the moment it is made; nothing is read until it is asked."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def messages(self) -> list[str]:
        """Return what has arrived since the last call, in its order."""
        heard: list[str] = []
        while True:
            try:
                heard += self._socket.recv(65536).decode("ascii").splitlines()
            except BlockingIOError:
                return heard

    def gauges(self) -> dict[str, float]:
        """Return the last value of each gauge that has arrived since the last call."""
        values = {}
        for message in self.messages():
            name, _, rest = message.rpartition(":")
            value, _, kind = rest.partition("|")
            if kind == "g":
                values[name] = float(value)
        return values
