"""Stop the app on the idle color, `server.stop_idle_after` seconds after a deploy or a rollback.

The deploy or rollback schedules this run, whether its switch was confirmed or taken back. If a later run has
switched since, this run stops nothing, because the later one has scheduled its own stop. A rollback starts
the color again. Triggered by hand, it does the same. Apps without that setting do not have this DAG.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import DEFAULT_ARGS, announce, dags_for_every_app
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.operators.stop_idle import TOKEN, StopIdleOperator, stop_idle_dag_id
from bluegreen.settings.app import App

SUBJECT = (
    "stop of the idle color{% set found = ti.xcom_pull(task_ids='stop_idle') %}"
    "{% if found %} ({{ found }}){% endif %}"
)


def stop_idle_dag(app: App) -> DAG:
    """Build the DAG of one app."""
    with DAG(
        stop_idle_dag_id(app.id),
        schedule=None,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        doc_md=__doc__,
        tags=["bluegreen", app.id],
    ) as dag:
        lock = AcquireLockOperator(
            app_id=app.id,
            task_id="lock",
            purpose="stop of the idle color",
            conf_keys=[TOKEN],
            # No other run does this work, so it outwaits a deploy that waits for its approval.
            wait=max(app.timeouts.lock_wait, app.timeouts.approval + app.timeouts.build),
        )
        stop_idle = StopIdleOperator(app_id=app.id, task_id="stop_idle", lock=lock.output)
        report = ReportOperator(
            app_id=app.id, task_id="report", subject=SUBJECT, needs_confirmation=False
        ).as_teardown(on_failure_fail_dagrun=True)
        chain(lock, stop_idle, report)
        announce(report)
    return dag


globals().update(
    dags_for_every_app(
        stop_idle_dag, "bluegreen_stop_idle", only=lambda app: app.server.stop_idle_after is not None
    )
)
