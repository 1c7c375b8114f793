"""The note of a run in Airflow's list of runs: what a deploy is of while it runs, and how each run ended.

A task has no way to write it, so the revision that its ref means stands there only at the end. A listener
has, because it is called where the run's state is changed, in the scheduler as a rule. Airflow catches what
goes wrong here, so a run ends as it would without a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from bluegreen.run.outcome import WITHOUT_A_WORD

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

AUTHOR = "bluegreen"
LONGEST_NOTE = 1000


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Note what a deploy is of; also if an earlier attempt of the run has left a note."""
    if is_attached(dag_run) and (subject := subject_of(dag_run)):
        # Not that it runs: the page of a run shows its state as it changes, but goes on showing this note.
        write_note(dag_run, subject)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that ended well."""
    note_the_end(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that did not."""
    note_the_end(dag_run)


def note_the_end(dag_run: DagRun) -> None:
    """Write the report's message."""
    if not dag_run.dag_id.startswith("bluegreen_") or not is_attached(dag_run):
        return
    if report := report_of(dag_run):
        write_note(dag_run, str(report["message"]))
    # A run that is marked failed goes on until its report is done, and has no end until then.
    elif dag_run.end_date is not None and (subject := subject_of(dag_run)):
        write_note(dag_run, f"{subject}: {WITHOUT_A_WORD}, see the log of its task report")


def subject_of(dag_run: DagRun) -> str | None:
    """Return what a deploy is of, or ``None`` for any other run."""
    if not dag_run.dag_id.startswith("bluegreen_deploy__") or not isinstance(dag_run.conf, Mapping):
        return None
    ref, dry = dag_run.conf.get("ref"), dag_run.conf.get("dry_run")
    return f"{'dry run' if dry else 'deploy'} of {ref}" if ref else None


def write_note(dag_run: DagRun, text: str) -> None:
    """Write a note; one that a person has written stays."""
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
