"""What the demo measured, as plain data and as a table, and whether it is what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.traffic_records import Record, Summary, summarize

# How long before a switch (or, where there was none, before the trigger) latencies are compared with.
BEFORE_SECONDS = 10.0
# What counts as "during" a switch: from shortly before it to some seconds after.
SWITCH_LEAD, SWITCH_TAIL = 0.5, 5.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """How a deploy has to end.

    :param moves: whether the new color is to be live afterwards; otherwise live stays as it was.
    """

    ref: str
    state: str
    outcome: str
    moves: bool


EXPECTED = (
    Expectation("v1", "success", "live and confirmed", moves=True),
    Expectation("v2", "success", "live and confirmed", moves=True),
    Expectation("v3-broken", "failed", "refused before the switch", moves=False),
    Expectation("v4-bad", "failed", "rolled back", moves=False),
)


@dataclass(frozen=True)
class Deploy:
    """What is known about one deploy; times are in seconds since the epoch.

    :param outcome: the outcome in the run's report.
    :param live: who was live afterwards, if that is known.
    :param switched: when traffic moved, ``None`` if it never did.
    :param switch_ms: milliseconds of the switch, ``None`` likewise.
    :param job_seconds: of the builder and of the slowest droplet.
    :param bake_seconds: how long the switch was watched, 0.0 if there was none.
    """

    ref: str
    revision: str
    run_id: str
    state: str
    outcome: str
    live: str | None
    triggered: float
    ended: float
    switched: float | None
    switch_ms: float | None
    job_seconds: float
    bake_seconds: float

    @property
    def seconds(self) -> float:
        """From the trigger to traffic on the new color; to the run's end if traffic never moved."""
        return (self.switched or self.ended) - self.triggered

    @property
    def overhead_seconds(self) -> float:
        """What the pipeline itself took: wall time without the droplets' jobs and the bake."""
        return self.ended - self.triggered - self.job_seconds - self.bake_seconds


def report(deploys: Sequence[Deploy], records: Sequence[Record]) -> Json:
    """Return the report: each request belongs to the deploy that was triggered last before it."""
    ends = [deploy.triggered for deploy in deploys[1:]] + [None]
    starts = [None, *ends[:-1]]
    rows = [
        _row(deploy, summarize(records, since, until), records)
        for deploy, since, until in zip(deploys, starts, ends, strict=True)
    ]
    return {
        "deploys": rows,
        "requests": sum(row["requests"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
    }


def _row(deploy: Deploy, seen: Summary, records: Sequence[Record]) -> Json:
    return {
        "ref": deploy.ref,
        "revision": deploy.revision,
        "run_id": deploy.run_id,
        "state": deploy.state,
        "outcome": deploy.outcome,
        "live": deploy.live,
        "seconds": round(deploy.seconds, 1),
        "overhead_seconds": round(deploy.overhead_seconds, 1),
        "switch_ms": deploy.switch_ms if deploy.switch_ms is None else round(deploy.switch_ms, 1),
        "requests": seen.requests,
        "failed": seen.failed,
        "app_errors": seen.app_errors,
        "p99_ms": _p99(deploy, records),
    }


def _p99(deploy: Deploy, records: Sequence[Record]) -> dict[str, float | None]:
    if deploy.switched is None:
        since, until = deploy.triggered, deploy.ended
    else:
        since, until = deploy.switched - SWITCH_LEAD, deploy.switched + SWITCH_TAIL
    windows = {"before": (since - BEFORE_SECONDS, since), "during": (since, until)}
    seen = {name: summarize(records, *window) for name, window in windows.items()}
    return {name: round(one.p99_ms, 1) if one.requests else None for name, one in seen.items()}


def problems(rows: Sequence[Json]) -> list[str]:
    """Return everything that is not as it should be, one line each; nothing if all is well."""
    found = []
    live: str | None = None
    for row, wanted in zip(rows, EXPECTED, strict=True):
        for key, value in (("state", wanted.state), ("outcome", wanted.outcome)):
            if row[key] != value:
                found.append(f"{wanted.ref}: {key} is {row[key]!r} instead of {value!r}")
        if (row["live"] != live) != wanted.moves:
            change = "did not change" if wanted.moves else f"is no longer {live}"
            found.append(f"{wanted.ref}: live {change}: {row['live']}")
        if row["failed"]:
            found.append(f"{wanted.ref}: {row['failed']} requests of clients failed")
        live = row["live"]
    return found


COLUMNS = (
    ("deploy", "ref"),
    ("run", "state"),
    ("outcome", "outcome"),
    ("live", "live"),
    ("to traffic s", "seconds"),
    ("overhead s", "overhead_seconds"),
    ("switch ms", "switch_ms"),
    ("requests", "requests"),
    ("failed", "failed"),
    ("app errors", "app_errors"),
    ("p99 before ms", "before"),
    ("during ms", "during"),
)


def table(result: Json) -> str:
    """Return the report as a table, for people."""
    lines = [[heading for heading, _ in COLUMNS]]
    lines += [[_cell({**row, **row["p99_ms"]}[key]) for _, key in COLUMNS] for row in result["deploys"]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.append(f"{result['requests']} requests, {result['failed']} failed")
    return "\n".join(line.rstrip() for line in text)


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
