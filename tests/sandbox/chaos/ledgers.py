"""Whether the proxies' ledgers tell of each run, and once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from demo.client import Run
from sandbox import Machine
from tests.sandbox.chaos.moments import ask
from tests.sandbox.stack import Stack

LEDGER = "/var/lib/bluegreen/ledger.jsonl"


def problems_in_ledgers(stack: Stack, attempts: dict[Run, set[int]]) -> list[str]:
    """Compare every ledger with what must be in it; when a later run has had every lock.

    :param attempts: by run, which must be there; none more than once.
    """
    found = []
    for proxy in stack.proxies():
        lines = _lines(proxy)
        for run, wanted in attempts.items():
            of_run = [line for line in lines if (line["dag_id"], line["run_id"]) == (run.dag_id, run.run_id)]
            counts: Counter[int] = Counter(line["attempt"] for line in of_run)
            found += [
                f"{proxy.name}: {counts[attempt]} lines in the ledger for {run.run_id}, attempt {attempt}"
                for attempt in sorted(wanted | counts.keys())
                if counts[attempt] != 1
            ]
    return found


def attempts_to_find(stack: Stack, run: Run, *, knew: bool, cleared_whole: bool, silent: bool) -> set[int]:
    """Say which attempts of a run the documentation promises a line for, on each proxy.

    Each attempt leaves one: by itself, or, if it has died or the proxy was away at its end, by the
    next run that takes its lock over. An attempt that was cleared in part leaves none: the next one goes on
    with its lock, and tells of both; or the next run does, by the name of the attempt that took the lock.

    :param knew: whether it got so far as to know which proxies there are.
    :param cleared_whole: whether what was cleared was all of it.
    :param silent: whether it ended without a report.
    """
    query = "SELECT clear_number FROM dag_run WHERE dag_id = ? AND run_id = ?"
    rows: Iterable[Any] = ask(stack, query, (run.dag_id, run.run_id))
    # One that was deleted was not cleared before.
    last = int(next(iter(rows), 0))
    if not knew:
        return set()
    return set(range(last + 1)) if cleared_whole else {0 if silent else last}


def _lines(proxy: Machine) -> list[dict[str, Any]]:
    # A full disk leaves the beginning of a line. The agent ignores it, and removes it with its next record.
    whole, _, _ = proxy.run(["cat", LEDGER]).stdout.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
