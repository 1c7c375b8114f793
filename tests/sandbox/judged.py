"""Clients of an app for as long as something happens to it, and what became of their requests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandbox.traffic_cli import LONGEST_DURATION
from sandbox.traffic_records import Summary, read, summarize
from tests.waiting import until


@contextmanager
def judged(url: str, directory: Path, paths: Sequence[str], rate: float = 50) -> Iterator[list[Summary]]:
    """Ask for some paths all the time; at the end the list has what became of the requests.

    :param directory: for the records.
    :param rate: requests a second, by all clients.
    """
    records = directory / "records.tsv"
    options = {
        "--url": url,
        "--rate": str(rate),
        "--duration": str(LONGEST_DURATION),
        "--records": str(records),
        "--out": str(directory / "traffic.json"),
    }
    words = [word for option in options.items() for word in option]
    asked = [word for path in paths for word in ("--path", path)]
    found: list[Summary] = []
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", "traffic", *words, *asked], stdin=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: len(read(records)) > rate, "there is traffic")
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    seen = summarize(read(records))
    print(f"{seen.requests:,} requests, {seen.failed} failed, {seen.app_errors} errors of the app")
    found.append(seen)
