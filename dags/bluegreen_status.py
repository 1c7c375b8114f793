"""Who is live, what runs on each droplet and how it is, and what happened last.

The log of `status` has tables, its XCom has the same as JSON. It takes no lock, changes nothing, and succeeds
however unhealthy the app is. It fails only if no proxy can be asked who is live.
"""

from __future__ import annotations

from airflow.sdk import DAG

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app
from bluegreen.operators.status import StatusOperator
from bluegreen.settings.app import App


def status_dag(app: App) -> DAG:
    """Build the status DAG of one app."""
    with dag_of("status", app, __doc__, max_active_runs=16) as dag:
        StatusOperator(task_id="status", retries=0)
    return dag


globals().update(dags_for_every_app(status_dag, "bluegreen_status"))
