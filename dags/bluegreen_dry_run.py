"""Would a deploy of the default ref start now? Everything that reads, nothing that changes."""

from __future__ import annotations

from airflow.sdk import DAG, Param, XComArg, chain

from bluegreen.app import App
from bluegreen.dags import DEFAULT_ARGS, announce, dags_for_every_app
from bluegreen.git import REF_PATTERN
from bluegreen.operators.config_check import ConfigCheckOperator
from bluegreen.operators.provision_check import PLAN_KEY, ProvisionCheckOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.operators.resolve_ref import ResolveRefOperator


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
        params={"ref": Param(app.default_ref, type="string", title="Git ref", pattern=REF_PATTERN)},
    ) as dag:
        resolve_ref = ResolveRefOperator(app_id=app.id, task_id="resolve_ref", retries=0)
        provision_check = ProvisionCheckOperator(app_id=app.id, task_id="provision_check")
        config_check = ConfigCheckOperator(
            app_id=app.id, task_id="config_check", plan=XComArg(provision_check, PLAN_KEY)
        )
        report = ReportOperator(
            app_id=app.id,
            task_id="report",
            subject="dry run of {{ params.ref }}",
            needs_confirmation=False,
            retries=0,
        ).as_teardown(on_failure_fail_dagrun=True)
        chain([resolve_ref, provision_check], config_check, report)
        announce(report)
    return dag


globals().update(dags_for_every_app(dry_run_dag, "bluegreen_dry_run"))
