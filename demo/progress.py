"""Progress on the terminal: one line whenever a task's state changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.client import AirflowClient, Run, Task

# States that are not worth a line.
QUIET = ("none", "scheduled", "queued", "removed")


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    :param at: seconds since the epoch when its end was noticed.
    """

    state: str
    at: float


def show(
    client: AirflowClient,
    run: Run,
    say: Callable[[str], None],
    seconds: float,
    on_change: Callable[[Task], None] = lambda task: None,
) -> Ended:
    """Follow a run to its end.

    :param say: prints a line.
    :param seconds: how long to wait.
    :param on_change: called for each change of a task's state.
    :raises RunTimeoutError: the run has not ended by then.
    """
    say(f"{run.dag_id} ({run.run_id})")
    for task in client.follow(run, seconds):
        if task.state not in QUIET:
            say(f"{time.time() - run.triggered:6.1f} s  {task}: {task.state}")
        on_change(task)
    ended = Ended(client.run_state(run), time.time())
    say(f"{ended.at - run.triggered:6.1f} s  {ended.state}: {client.last_line(run)}\n")
    return ended
