"""What the traffic judge records about each request, and the sums drawn from it.

A records file has one line per request, tab-separated, in the order in which requests ended. It may be read
while it is being written: a last line that is not whole yet is left for the next reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

FIELDS = 9
EXAMPLES_PER_KIND = 3


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    # The application itself answered with an error; a deploy is not the cause.
    APP_ERROR = "app_error"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """One request that was started.

    :param start: seconds since the epoch when the client began with it.
    :param duration_ms: milliseconds until it ended, well or not.
    :param kind: of a failure: ``refused``, ``reset``, ``eof``, ``timeout``, ``short_body``, ``http_5xx``,
        ``wrong_body`` …; empty otherwise.
    :param request: method and path.
    :param status: HTTP status, 0 if there was none.
    :param color: of the response's ``X-Color``, empty if there was none.
    :param revision: of the response's ``X-Revision``, empty if there was none.
    :param detail: more about a failure.
    """

    start: float
    duration_ms: float
    outcome: Outcome
    kind: str
    request: str
    status: int = 0
    color: str = ""
    revision: str = ""
    detail: str = ""

    def line(self) -> str:
        """The record as one line of a records file."""
        times = (f"{self.start:.6f}", f"{self.duration_ms:.3f}")
        texts = (
            self.outcome,
            self.kind,
            self.request,
            str(self.status),
            self.color,
            self.revision,
            self.detail,
        )
        return "\t".join((*times, *map(_without_separators, texts))) + "\n"


@dataclass(frozen=True)
class Summary:
    """Sums over the requests that started in a window of time.

    :param requests: all of them; each is counted once in ``ok``, ``app_errors`` or ``failed``.
    :param failures: number of failed requests by kind.
    :param examples: the first few failures of each kind.
    :param p50_ms: of the requests that were answered, as are the other latencies; 0.0 if there were none.
    :param colors: answers by color; those without one are not in it.
    :param revisions: answers by revision, likewise.
    :param last_start: by color, when the last request that it answered was started.
    """

    requests: int = 0
    ok: int = 0
    app_errors: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Record]] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    colors: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    last_start: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The summary as plain data, as it stands in the judge's result file."""
        return {
            "requests": self.requests,
            "ok": self.ok,
            "app_errors": self.app_errors,
            "failed": self.failed,
            "failures": {
                kind: {"count": count, "first": [_example(record) for record in self.examples[kind]]}
                for kind, count in self.failures.items()
            },
            "latency_ms": {"p50": self.p50_ms, "p99": self.p99_ms, "max": self.max_ms},
            "colors": self.colors,
            "revisions": self.revisions,
            "last_start": self.last_start,
        }


def read(path: Path) -> list[Record]:
    """Return all complete records of a file; none if the file does not exist yet.

    :raises ValueError: naming the line, if the file is not a records file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    *whole, _unfinished = content.split(b"\n")
    return [_parse(path, number, line.decode("utf-8")) for number, line in enumerate(whole, start=1)]


def summarize(records: Iterable[Record], since: float | None = None, until: float | None = None) -> Summary:
    """Sum up the requests that started at ``since`` or later and before ``until``.

    :param since: seconds since the epoch; default: from the first request on.
    :param until: seconds since the epoch; default: to the last request.
    """
    chosen = [
        record
        for record in records
        if (since is None or record.start >= since) and (until is None or record.start < until)
    ]
    outcomes = Counter(record.outcome for record in chosen)
    failed = [record for record in chosen if record.outcome is Outcome.FAILED]
    failed.sort(key=lambda record: record.start)
    kinds = Counter(record.kind for record in failed)
    durations = sorted(record.duration_ms for record in chosen if record.status)
    return Summary(
        requests=len(chosen),
        ok=outcomes[Outcome.OK],
        app_errors=outcomes[Outcome.APP_ERROR],
        failed=len(failed),
        failures=dict(kinds),
        examples={kind: [r for r in failed if r.kind == kind][:EXAMPLES_PER_KIND] for kind in kinds},
        p50_ms=percentile(durations, 50),
        p99_ms=percentile(durations, 99),
        max_ms=durations[-1] if durations else 0.0,
        colors=dict(Counter(record.color for record in chosen if record.color)),
        revisions=dict(Counter(record.revision for record in chosen if record.revision)),
        last_start=_last_start(chosen),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that ``percent`` of the values do not exceed (nearest rank); 0.0 for none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


def _last_start(records: Iterable[Record]) -> dict[str, float]:
    last: dict[str, float] = {}
    for record in records:
        if record.color:
            last[record.color] = max(record.start, last.get(record.color, 0.0))
    return last


def _parse(path: Path, number: int, line: str) -> Record:
    fields = line.split("\t")
    try:
        if len(fields) != FIELDS:
            raise ValueError(f"{len(fields)} fields instead of {FIELDS}")
        start, duration, outcome, kind, request, status, color, revision, detail = fields
        times = (float(start), float(duration))
        return Record(*times, Outcome(outcome), kind, request, int(status), color, revision, detail)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not a record of the traffic judge: {error}") from None


def _without_separators(text: str) -> str:
    return " ".join(text.split())


def _example(record: Record) -> dict[str, Any]:
    return {
        "start": record.start,
        "duration_ms": record.duration_ms,
        "request": record.request,
        "status": record.status,
        "detail": record.detail,
    }
