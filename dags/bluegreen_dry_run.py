"""The night watch: would a deploy succeed right now, and could traffic go back?

It reads everything and changes nothing. The log of `check` and its XCom `findings` list the problems, the
worst first. The run fails if a deploy would fail.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, chain

from bluegreen.dag_building.every_app import DEFAULT_ARGS, announce, dags_for_every_app
from bluegreen.git_refs import REF_PATTERN
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.settings.app import App

# If it fails, the report names the cause, which is the same.
SUBJECT = (
    "dry run of {{ params.ref }}"
    "{% set revision = ti.xcom_pull(task_ids='check', key='revision') %}"
    "{% if revision %} ({{ revision[:12] }}){% endif %}"
    "{% set found = ti.xcom_pull(task_ids='check', key='summary') %}"
    "{% if found and not ti.xcom_pull(task_ids='check', key='error') %} ({{ found }}){% endif %}"
)


def dry_run_dag(app: App) -> DAG:
    """Build the dry-run DAG of one app."""
    with DAG(
        f"bluegreen_dry_run__{app.id}",
        schedule=app.dry_run_schedule,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        doc_md=__doc__,
        tags=["bluegreen", app.id],
        params={
            "ref": Param(
                app.default_ref,
                type="string",
                title="Git ref",
                description="What a deploy would be of: a branch, a tag or a commit id.",
                pattern=REF_PATTERN,
            )
        },
    ) as dag:
        check = DryRunOperator(app_id=app.id, task_id="check", retries=0)
        report = ReportOperator(
            app_id=app.id, task_id="report", subject=SUBJECT, needs_confirmation=False
        ).as_teardown(on_failure_fail_dagrun=True)
        chain(check, report)
        announce(report)
    return dag


globals().update(dags_for_every_app(dry_run_dag, "bluegreen_dry_run"))
