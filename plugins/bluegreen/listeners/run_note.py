"""The note of a run in Airflow's list of runs: the subject of a running deploy, and how each run ended.

Tasks cannot write it. A listener can, because it is called where the run's state changes, usually in the
scheduler. The revision of a deploy's ref is therefore part of the note only at the end. Airflow catches
errors of listeners, so they do not change how a run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from bluegreen.run.outcome import UNREPORTED

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

AUTHOR = "bluegreen"
LONGEST_NOTE = 1000


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Note the subject of a deploy, even if an earlier attempt of the run has left a note."""
    if is_attached(dag_run) and (subject := subject_of(dag_run)):
        # The note does not say that the run is at work: Airflow's page of a run does not update the note.
        write_note(dag_run, subject)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write the note of a successful run."""
    write_final_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write the note of a failed run."""
    write_final_note(dag_run)


def write_final_note(dag_run: DagRun) -> None:
    """Write the report's message."""
    if not dag_run.dag_id.startswith("bluegreen_") or not is_attached(dag_run):
        return
    if report := report_of(dag_run):
        write_note(dag_run, str(report["message"]))
    # A run that was marked failed goes on until its report is done.
    elif dag_run.end_date is not None and (subject := subject_of(dag_run)):
        write_note(dag_run, f"{subject}: {UNREPORTED}, see the log of its task report")


def subject_of(dag_run: DagRun) -> str | None:
    """Return the subject of a deploy, or ``None`` for any other run."""
    if not dag_run.dag_id.startswith("bluegreen_deploy__") or not isinstance(dag_run.conf, Mapping):
        return None
    ref, dry = dag_run.conf.get("ref"), dag_run.conf.get("dry_run")
    if not ref and (artifact := dag_run.conf.get("artifact")):
        ref = f"artifact {str(artifact)[:12]}"
    return f"{'dry run' if dry else 'deploy'} of {ref}" if ref else None


def write_note(dag_run: DagRun, text: str) -> None:
    """Write a note, unless a person has written one."""
    if dag_run.dag_run_note is not None and dag_run.dag_run_note.user_id != AUTHOR:
        return
    note = text if len(text) <= LONGEST_NOTE else f"{text[: LONGEST_NOTE - 1]}…"
    if dag_run.dag_run_note is None:
        dag_run.note = (note, AUTHOR)
    else:
        dag_run.note = note


def is_attached(dag_run: DagRun) -> bool:
    """Whether what is written to a run reaches Airflow's database; ``dag.test()`` works on a copy."""
    from sqlalchemy.orm import object_session

    return object_session(dag_run) is not None


def report_of(dag_run: DagRun) -> dict[str, Any] | None:
    """Return the result of the run's task ``report``, or ``None`` if there is none."""
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    if (session := object_session(dag_run)) is None:
        return None
    wanted = XComModel.get_many(
        run_id=dag_run.run_id, key="report", task_ids="report", dag_ids=dag_run.dag_id, limit=1
    )
    # The scheduler, not this listener, decides when to write the run's state.
    with session.no_autoflush:
        found = session.scalars(wanted).first()
    report = XComModel.deserialize_value(found) if found is not None else None
    return report if isinstance(report, dict) else None
