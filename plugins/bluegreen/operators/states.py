"""What became of the other tasks of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def is_dry_run(context: Context) -> bool:
    """Whether this run is to change nothing on any machine."""
    return "lock" not in context["dag"].task_ids or bool(context["params"].get("dry_run"))


def task_states(context: Context) -> dict[str, str]:
    """Return the state of every task instance of this run that has one.

    A mapped task's instances are keyed as Airflow's API does: task id, underscore, map index.
    """
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    return {task: str(state) for task, state in states.items() if state is not None}
