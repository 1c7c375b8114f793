"""Clients of every proxy, while something goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sandbox.traffic_records import Summary, read, summarize
from tests.sandbox.stack import Judge, Stack, start_judge, stop_judge
from tests.waiting import until


@dataclass(frozen=True)
class Seen:
    """What the clients of one proxy saw.

    :param struck: whether it is the one that faults strike.
    """

    proxy: str
    struck: bool
    summary: Summary


class Judges:
    """One for each proxy.

    :param directory: for what they record.
    :param paths: what clients ask for; the sample app's three requests by default.
    """

    def __init__(self, stack: Stack, directory: Path, paths: Sequence[str] = ()) -> None:
        self.stack = stack
        self.directory = directory
        self.paths = paths
        self._judges: dict[str, Judge] = {}
        self._running = ExitStack()

    def __enter__(self) -> Judges:
        with ExitStack() as started:
            for proxy in self.stack.proxies():
                (self.directory / proxy.name).mkdir()
                directory = self.directory / proxy.name
                process, judge = start_judge(f"http://{proxy.address}/", directory, self.paths)
                started.callback(stop_judge, process)
                self._judges[proxy.name] = judge
            # Their first requests are what the rest is compared with.
            until(self._have_begun, "traffic")
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def seen(self) -> list[Seen]:
        """Return what each has seen, when they have ended."""
        struck = self.stack.proxy().name
        return [
            Seen(name, name == struck, summarize(read(judge.records))) for name, judge in self._judges.items()
        ]

    def records(self) -> list[Path]:
        """Return the file of each."""
        return [judge.records for judge in self._judges.values()]

    def _have_begun(self) -> bool:
        return all(
            judge.records.exists() and judge.records.stat().st_size > 0 for judge in self._judges.values()
        )
