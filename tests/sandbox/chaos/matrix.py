"""What came of the cells, as a table that one understands at a glance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sandbox.chaos.cells import TASKS, TASKS_OF_STATE

COLUMNS = (*TASKS, "rollback", *TASKS_OF_STATE)
SHORT = {
    "live and confirmed": "L",
    "already live": "L",
    "rolled back": "R",
    "refused before the switch": "N",
    "unclear": "U",
}
PHASES = {"before": "⇤", "during": "", "amid": "↯", "building": "⚒", "after": "⇥"}


@dataclass(frozen=True)
class Result:
    """What came of one cell.

    :param ended: how the run ended at which the fault struck.
    :param again: how the plain re-run ended; empty where the run was good and left nothing to repair.
    :param requests: of clients, from the trigger to the end of the last run.
    :param failed: those that failed, but for what the fault answers itself.
    :param seconds: from the fault until the last run had ended.
    :param clients_see: why clients of the proxy that the fault strikes may notice, if they may.
    :param problem: why the cell is not good, or ``None``.
    """

    fault: str
    phase: str
    task: str
    ended: str
    again: str
    requests: int
    failed: int
    seconds: float
    clients_see: str | None
    problem: str | None


def append(result: Result, file: Path) -> None:
    """Keep a result, so that an interrupted suite has not run in vain."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(result)) + "\n")


def load(file: Path) -> list[Result]:
    """Read the results; of a cell that was run again, the last one counts."""
    results = [Result(**json.loads(line)) for line in file.read_text().splitlines()]
    return list({(one.fault, one.phase, one.task): one for one in results}.values())


def render(results: Iterable[Result]) -> str:
    """Return the matrix as Markdown."""
    results = list(results)
    good = sum(one.problem is None for one in results)
    requests = sum(one.requests for one in results)
    failed = sum(one.failed for one in results)
    lines = [
        "# Chaos",
        "",
        f"**{good} of {len(results)} cells good; {failed} of {requests:,} requests failed** "
        "(without those that a fault answers itself, marked *).",
        "",
        "A row is the fault, a column the task of the deploy during which it struck. A cell shows how the",
        "run ended, and the seconds from the fault until a release was live: by that run, or else by a plain",
        "re-run. After each cell all machines are searched for leftovers: locks, timers, jobs, temporary",
        "files, processes. A run that left any is followed by a plain re-run, too.",
        "",
        "L live and confirmed · R rolled back · N refused, or ended before traffic moved · U unclear ·",
        "D the run was gone, or could not say a word; ⇤ just before the task, ⇥ just after it, ↯ when it had",
        "done its work on the first proxy, ⚒ while it built a release, else during it;",
        "✗ not good, see below",
        "",
        "| | " + " | ".join(column.replace("_", " ") for column in COLUMNS) + " |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for fault in dict.fromkeys(one.fault for one in results):
        row = [one for one in results if one.fault == fault]
        shown = ["<br>".join(_cell(one) for one in row if one.task == task) for task in COLUMNS]
        lines.append(f"| {fault}{'*' if row[0].clients_see else ''} | " + " | ".join(shown) + " |")
    lines += ["", *_notes(results)]
    return "\n".join(lines) + "\n"


def _cell(one: Result) -> str:
    mark = "✗ " if one.problem else ""
    return f"{mark}{PHASES[one.phase]}{SHORT.get(one.ended, 'D')} {one.seconds:.0f}"


def _notes(results: list[Result]) -> list[str]:
    notes = {f"- \\* {one.fault}: {one.clients_see}" for one in results if one.clients_see}
    bad = [
        f"- ✗ {one.fault}, {one.phase} {one.task}: {one.problem}"
        for one in results
        if one.problem is not None
    ]
    return sorted(notes) + bad
