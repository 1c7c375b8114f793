"""A StatsD daemon that only listens."""

from __future__ import annotations

import re
import socket
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple, Self

# What is kept: the project's own figures, and the one of Airflow's that an alarm uses.
KEPT = re.compile(r"airflow\.(bluegreen\.[^:]+|scheduler_heartbeat):([^|]+)\|[gc]$")
MARK, GOODBYE = b"mark", b"goodbye"


class Heard(NamedTuple):
    """A figure; its name is without Airflow's prefix."""

    name: str
    value: float


class Sink:
    """Keeps what arrives of the figures that the alarms use, the earliest first."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._heard: list[Heard] = []
        self._marked = Event()
        self._thread = Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say(GOODBYE)
        self._thread.join()
        self._socket.close()

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which Airflow sends its metrics here."""
        settings = {"ON": "True", "HOST": "127.0.0.1", "PORT": str(self.port)}
        return {f"AIRFLOW__METRICS__STATSD_{name}": value for name, value in settings.items()}

    def heard(self) -> list[Heard]:
        """Return all that was sent before this call."""
        self._marked.clear()
        self._say(MARK)
        assert self._marked.wait(10), "what listens has died"
        return self._heard.copy()

    def last(self) -> dict[str, float]:
        """Return the last value of each figure."""
        return dict(self.heard())

    def _say(self, word: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.sendto(word, ("127.0.0.1", self.port))

    def _listen(self) -> None:
        while (message := self._socket.recv(65536)) != GOODBYE:
            if message == MARK:
                self._marked.set()
            for line in message.decode("ascii").splitlines():
                if found := KEPT.match(line):
                    self._heard.append(Heard(found[1], float(found[2])))
