"""When to strike: before, during or after a task of a run, seen in Airflow's own database."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo.client import Run

POLL_SECONDS = 0.02
# Into the task: its first tenths go into starting Python.
INSIDE_SECONDS = 0.3
WAITING = ("scheduled", "queued", "restarting", "up_for_retry")
OVER = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass(frozen=True)
class Moment:
    """A place in a run.

    :param phase: ``before``, ``during`` or ``after``.
    :param task: a task's id.
    """

    phase: str
    task: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what the table says, for example ``during deploy``.

        :raises ValueError: if it is none.
        """
        found = re.fullmatch(r"(before|during|after) (\w+)", text)
        if found is None:
            raise ValueError(f"{text!r} is no moment")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.phase} {self.task}"

    def wait(self, database: Path, run: Run, seconds: float = 90) -> bool:
        """Wait for it.

        :return: whether it came; a run may end without it.
        """
        deadline = time.monotonic() + seconds
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            while time.monotonic() < deadline:
                states = _states(connection, run, self.task)
                if self._is_now(states):
                    if self.phase == "during":
                        time.sleep(INSIDE_SECONDS)
                    return True
                if _has_ended(connection, run):
                    return False
                time.sleep(POLL_SECONDS)
        return False

    def _is_now(self, states: list[str]) -> bool:
        if self.phase == "before":
            return any(state in (*WAITING, "running", *OVER) for state in states)
        if self.phase == "during":
            return any(state in ("running", *OVER) for state in states)
        return bool(states) and all(state in OVER for state in states)


def _states(connection: sqlite3.Connection, run: Run, task: str) -> list[str]:
    rows = connection.execute(
        "SELECT state FROM task_instance WHERE dag_id = ? AND run_id = ? AND task_id = ?",
        (run.dag_id, run.run_id, task),
    )
    return [str(state) for (state,) in rows if state]


def _has_ended(connection: sqlite3.Connection, run: Run) -> bool:
    found = connection.execute(
        "SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", (run.dag_id, run.run_id)
    ).fetchone()
    return found is None or found[0] in ("success", "failed")
