"""What became of the other tasks of a run."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.xcom import BaseXCom

from bluegreen.errors import BlueGreenError
from bluegreen.run.plan import Plan
from bluegreen.traffic.good_answer import one_line

if TYPE_CHECKING:
    from airflow.sdk import Context

DID_NOT_RUN = ("upstream_failed", "skipped", "removed")

# How keys begin that Airflow and its OpenLineage provider add to what a run is triggered with.
AIRFLOWS_OWN = ("airflow/", "openlineage")


def is_dry_run(context: Context) -> bool:
    """Whether this run is to change nothing on any machine."""
    return "lock" not in context["dag"].task_ids or _is_set(context, "dry_run")


def is_emergency(context: Context) -> bool:
    """Whether absolute limits alone judge this run: a bad live release must not veto its replacement."""
    return _is_set(context, "emergency")


def _is_set(context: Context, param: str) -> bool:
    """Whether a run has a parameter that its DAG has, too: Airflow takes whatever a run is triggered with."""
    return bool(context["params"].get(param)) and param in context["dag"].params


def refuse_unknown_params(context: Context, conf_keys: Collection[str] = ()) -> None:
    """Make sure that a run was triggered with parameters of its DAG only: no other value is checked.

    :param conf_keys: what else it may have been triggered with.
    :raises BlueGreenError: naming those that there are.
    """
    dag, conf = context["dag"], context["dag_run"].conf or {}
    unknown = [
        key
        for key in conf
        if key not in dag.params and key not in conf_keys and not key.startswith(AIRFLOWS_OWN)
    ]
    if unknown:
        raise BlueGreenError(
            f"{context['dag_run'].dag_id} has no parameter {one_line(', '.join(unknown))}; it has: "
            f"{', '.join(dag.params) or 'none'} (what the app's file decides for every run has none)"
        )


def task_states(context: Context) -> dict[str, str]:
    """Return the state of every task instance of this run that has one.

    A mapped task's instances are keyed as Airflow's API does: task id, underscore, map index.
    """
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    return {task: str(state) for task, state in states.items() if state is not None}


def holder_of(context: Context) -> str:
    """Return by what name the proxies know this run."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def told(context: Context, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY) -> Any:
    """Return what another task of this run has told, or ``None``.

    What it told before the run was cleared does not count: Airflow keeps that until the task runs again,
    which it may never do.
    """
    found = context["ti"].xcom_pull(task_ids=task_id, key=key)
    return None if found is None or task_states(context).get(task_id) in DID_NOT_RUN else found


def found_plan(context: Context) -> Plan | None:
    """Return the run's plan, or ``None`` if it did not get that far.

    For tasks that run whatever happened: as an argument of theirs, a plan that is not there would fail them.
    """
    found = told(context, "provision_check", "plan")
    return Plan.model_validate(found) if found else None
