"""Stop the app on the idle color, `server.stop_idle_after` seconds after a deploy or a rollback.

The deploy or rollback schedules this run, whether its switch was confirmed or taken back. If a later run has
switched since, this run stops nothing, because the later one has scheduled its own stop. A rollback starts
the color again. Triggered by hand, it does the same. Apps without that setting do not have this DAG.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.dag_building.processes import settle_processes
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.stop_idle import TOKEN, StopIdleOperator
from bluegreen.settings.app import App

SUBJECT = (
    "stop of the idle color{% set found = ti.xcom_pull(task_ids='stop_idle') %}"
    "{% if found %} ({{ found }}){% endif %}"
)


def stop_idle_dag(app: App) -> DAG:
    """Build the DAG of one app."""
    with dag_of("stop_idle", app, __doc__) as dag:
        lock = AcquireLockOperator(
            task_id="lock",
            purpose="stop of the idle color",
            conf_keys=[TOKEN],
            # No other run does this work, so it outwaits a deploy that waits for its approval.
            wait=max(app.timeouts.lock_wait, app.timeouts.approval + app.timeouts.build),
        )
        stop_idle = StopIdleOperator(task_id="stop_idle", lock=lock.output)
        report = report_and_announce(SUBJECT, needs_confirmation=False)
        chain(lock, stop_idle, report)
        settle_processes(app, lock, after=lock, before=[stop_idle, report], goes_on=True)
    return dag


globals().update(
    dags_for_every_app(
        stop_idle_dag, "bluegreen_stop_idle", only=lambda app: app.server.stop_idle_after is not None
    )
)
