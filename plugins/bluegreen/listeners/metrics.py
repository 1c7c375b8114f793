"""Metrics of runs, sent through Airflow's own metrics: if Airflow's are switched on, and to the same place.

The beginning and the end of a run are noticed where Airflow changes its state, usually in the scheduler.
So runs whose tasks die are reported, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from bluegreen.errors import SettingsError
from bluegreen.listeners.run_note import is_attached, report_of
from bluegreen.operators.support.metrics import Figures, Watched, send
from bluegreen.settings.app_file import load_app

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Report by when a run should be over."""
    if (watched := Watched.of(dag_run.dag_id)) is None or dag_run.start_date is None:
        return
    conf = dag_run.conf if isinstance(dag_run.conf, Mapping) else {}
    try:
        figures = watched.at_start(dag_run.start_date.timestamp(), load_app(watched.app_id), conf)
    except (SettingsError, ValueError):
        # The run's first task fails with this error.
        return
    _emit_from_airflow(figures)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Emit how the run ended."""
    _report_end(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Emit how the run ended."""
    _report_end(dag_run)


def _report_end(dag_run: DagRun) -> None:
    watched = Watched.of(dag_run.dag_id)
    # A run that was marked failed goes on until its teardowns are done.
    if watched is None or dag_run.end_date is None or not is_attached(dag_run):
        return
    _emit_from_airflow(watched.at_end(dag_run.end_date.timestamp(), report_of(dag_run)))


def _emit_from_airflow(figures: Figures) -> None:
    # Airflow's own processes have another copy of the classes that tasks use.
    from airflow.observability import stats

    send(figures, stats.gauge)
