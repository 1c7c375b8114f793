"""Run a one-off command in the live release: a console task, a report, a repair of data.

The parameter `command` has its words. It runs on one live droplet beside the app's service, as the app's
user, in the cage and with the environment of the app. Only the users in `policy.run` of the app's file may
run one, and the run's record names who did. It takes no lock: no deploy or rollback waits for it, or ends it.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from agent.one_off import describe_command
from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.dag_building.trigger_form import run_params
from bluegreen.operators.run_check import RunCheckOperator
from bluegreen.operators.run_command import RunCommandOperator
from bluegreen.settings.app import App

SUBJECT = (
    "command {{ params.command | describe_command }}"
    "{% set ended = ti.xcom_pull(task_ids='run_command') %}"
    "{% if ended %} (on {{ ended.droplet }}, {{ ended.ran.seconds }} s){% endif %}"
)


def run_dag(app: App) -> DAG:
    """Build the DAG of one app."""
    # One that takes hours does not keep an urgent one waiting, and more would be in the service's way.
    shown = {"describe_command": describe_command}
    with dag_of(
        "run", app, __doc__, params=run_params(), max_active_runs=2, user_defined_filters=shown
    ) as dag:
        run_check = RunCheckOperator(task_id="run_check")
        run_command = RunCommandOperator(task_id="run_command", target=run_check.output)
        report = report_and_announce(SUBJECT, needs_confirmation=False)
        chain(run_check, run_command, report)
    return dag


globals().update(dags_for_every_app(run_dag, "bluegreen_run", only=lambda app: bool(app.policy.run)))
