"""The note of a run in Airflow's list of runs: how it ended.

A task has no way to write it. A listener has, because it is called where the run's state is changed, in the
scheduler as a rule. Airflow catches what goes wrong here, so a run ends as it would without a note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

AUTHOR = "bluegreen"
LONGEST_NOTE = 1000


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that ended well."""
    write_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that did not."""
    write_note(dag_run)


def write_note(dag_run: DagRun) -> None:
    """Write the report's message; a note that a person has written stays."""
    if not dag_run.dag_id.startswith("bluegreen_") or not is_attached(dag_run):
        return
    if dag_run.dag_run_note is not None and dag_run.dag_run_note.user_id != AUTHOR:
        return
    if report := report_of(dag_run):
        message = str(report["message"])
        note = message if len(message) <= LONGEST_NOTE else f"{message[: LONGEST_NOTE - 1]}…"
        if dag_run.dag_run_note is None:
            dag_run.note = (note, AUTHOR)
        else:
            dag_run.note = note


def is_attached(dag_run: DagRun) -> bool:
    """Whether what is written to a run reaches Airflow's database; ``dag.test()`` works on a copy."""
    from sqlalchemy.orm import object_session

    return object_session(dag_run) is not None


def report_of(dag_run: DagRun) -> dict[str, Any] | None:
    """Return what the run's task ``report`` said, or ``None`` if it left nothing."""
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    if (session := object_session(dag_run)) is None:
        return None
    wanted = XComModel.get_many(
        run_id=dag_run.run_id, key="report", task_ids="report", dag_ids=dag_run.dag_id, limit=1
    )
    # The scheduler decides when it writes the run's state, not this.
    with session.no_autoflush:
        found = session.scalars(wanted).first()
    report = XComModel.deserialize_value(found) if found is not None else None
    return report if isinstance(report, dict) else None
