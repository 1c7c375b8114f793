"""What came of the bad releases, as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What came of one bad release.

    :param ended: how its deploy ended, and ``message`` is its last line.
    :param again: how the deploy of a good release ended that came next.
    :param stayed: seconds that traffic was with the bad release.
    :param requests: of clients, from the trigger to the end of the good deploy.
    :param failed: those that the bad release cannot be blamed for.
    :param own_failures: those that failed while the bad release was live.
    :param seconds: that its deploy took.
    :param problem: why the cell is not good, or ``None``.
    """

    release: str
    ended: str
    message: str
    again: str
    stayed: float
    requests: int
    failed: int
    own_failures: int
    seconds: float
    problem: str | None


def append(result: Result, file: Path) -> None:
    """Keep a result, so that an interrupted suite has not run in vain."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(result)) + "\n")


def load(file: Path) -> dict[str, Result]:
    """Read the results, by release; of one that was run again, the last one counts."""
    results = [Result(**json.loads(line)) for line in file.read_text().splitlines()]
    return {one.release: one for one in results}


def render(results: Sequence[Result]) -> str:
    """Return the table as Markdown."""
    good = sum(one.problem is None for one in results)
    requests, failed = sum(one.requests for one in results), sum(one.failed for one in results)
    lines = [
        "# Bad releases",
        "",
        f"**{good} of {len(results)} cells good; {failed} of {requests:,} requests failed** that the old",
        "release had to answer. What clients suffer from a bad release while it is live is counted apart.",
        "",
        "| release | its deploy | seconds live | its own failures | deploy, s | then a good release |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {'✗ ' if one.problem else ''}{one.release} | {one.ended} | {one.stayed:.1f} | {one.own_failures} "
        f"| {one.seconds:.0f} | {one.again} |"
        for one in results
    ]
    lines += ["", *(f"- {one.release}: {one.message}" for one in results)]
    lines += [f"- ✗ {one.release}: {one.problem}" for one in results if one.problem]
    return "\n".join(lines) + "\n"
