"""The figures of runs, through Airflow's own metrics: they are sent if, and to where, Airflow's are.

That a run has begun and ended is heard where Airflow changes its state, in the scheduler as a rule, so that
it is told of runs whose tasks die, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from bluegreen.app_file import load_app
from bluegreen.errors import SettingsError
from bluegreen.figures import Figures, Watched
from bluegreen.listeners.run_note import is_attached, report_of

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)


def emit(figures: Figures) -> None:
    """Send figures from a task; whatever comes of it, the task goes on."""
    from airflow.sdk.observability import stats

    _send(figures, stats.gauge)


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Say by when a run should be over."""
    if (watched := Watched.of(dag_run.dag_id)) is None or dag_run.start_date is None:
        return
    conf = dag_run.conf if isinstance(dag_run.conf, Mapping) else {}
    try:
        figures = watched.begun(dag_run.start_date.timestamp(), load_app(watched.app_id), conf)
    except (SettingsError, ValueError):
        # Its first task says so, and ends it.
        return
    _emit_from_airflow(figures)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Say how a run ended."""
    _say_the_end(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Say how a run ended."""
    _say_the_end(dag_run)


def _say_the_end(dag_run: DagRun) -> None:
    watched = Watched.of(dag_run.dag_id)
    # A run that is marked failed goes on until its teardowns are done, and has no end until then.
    if watched is None or dag_run.end_date is None or not is_attached(dag_run):
        return
    _emit_from_airflow(watched.ended(dag_run.end_date.timestamp(), report_of(dag_run)))


def _emit_from_airflow(figures: Figures) -> None:
    # Airflow's own processes have another copy of what tasks use.
    from airflow.observability import stats

    _send(figures, stats.gauge)


def _send(figures: Figures, gauge: Callable[[str, float], None]) -> None:
    try:
        for name, value in figures.items():
            gauge(name, value)
    except Exception as error:  # anything that a backend, its library or its settings may do
        log.warning("figures were not sent: %s: %s", type(error).__name__, error)
