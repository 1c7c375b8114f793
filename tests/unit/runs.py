"""A run whose tasks tell each other what a test lets them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bluegreen.operators.support.this_run import ThisRun


class Run:
    """A run's task instances, and the context that each of them gets.

    :param first: the task that finds its revision.
    :param params: what the run was triggered with.
    """

    def __init__(self, run_id: str = "run", first: str = "resolve_ref", **params: Any) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.task_id = first
        self.dag_id, self.run_id, self.map_index = "deploy", run_id, -1
        done = (
            *(first, "provision_check", "preview_check", "approval"),
            *("switch_traffic", "final_validation"),
        )
        self.states = dict.fromkeys(done, "success")
        run = SimpleNamespace(
            dag_id="deploy",
            run_id=run_id,
            triggering_user_name="bob",
            run_type=SimpleNamespace(value="manual"),
        )
        dag = SimpleNamespace(task_ids=list(self.states), params=params)
        self.context: Any = {"ti": self, "dag_run": run, "dag": dag, "params": params}

    def xcom_push(self, key: str, value: Any) -> None:
        """Push as the task does whose turn it is."""
        self.xcoms[self.task_id, key] = value

    @property
    def this(self) -> ThisRun:
        """The run as a task sees it that looks now."""
        return ThisRun(self.context)

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        """Return what a task pushed."""
        return self.xcoms.get((task_ids, key))

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        """Return the states of all tasks."""
        return {self.run_id: self.states}


def running(task_id: str) -> ThisRun:
    """Return the run of a task of which nothing else is known."""
    run = Run()
    run.task_id = task_id
    return run.this
