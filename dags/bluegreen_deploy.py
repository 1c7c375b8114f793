"""Deploy a revision to the idle color, move the traffic to it, and keep or take back the switch."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, XComArg, chain

from bluegreen.dag_building.every_app import DEFAULT_ARGS, announce, dags_for_every_app, stop_idle_later
from bluegreen.dag_building.trigger_form import deploy_params
from bluegreen.operators.approval import SwitchApprovalOperator
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.confirm import ConfirmOperator
from bluegreen.operators.deploy import DeployReleaseOperator
from bluegreen.operators.drain import DrainOperator
from bluegreen.operators.final_validation import FinalValidationOperator
from bluegreen.operators.judge import JudgeOperator
from bluegreen.operators.lifecycle_commands import add_command_hooks
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.preview_check import PreviewCheckOperator
from bluegreen.operators.provision_check import ProvisionCheckOperator
from bluegreen.operators.render_and_reload import RenderAndReloadOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.operators.resolve_ref import ResolveRefOperator
from bluegreen.operators.rollback import RollbackOperator
from bluegreen.operators.support.this_run import PLAN_KEY
from bluegreen.operators.switch_traffic import SwitchTrafficOperator
from bluegreen.sensors.health_check import HealthCheckSensor
from bluegreen.settings.app import App

PURPOSE = "deploy of {{ params.ref }}{% if params.reason %}: {{ params.reason }}{% endif %}"
KIND = "'dry run' if params.dry_run else 'emergency deploy' if params.emergency else 'deploy'"
SUBJECT = f"{{{{ {KIND} }}}} of {{{{ params.ref }}}}"


def deploy_dag(app: App) -> DAG:
    """Build the deploy DAG of one app."""
    with DAG(
        f"bluegreen_deploy__{app.id}",
        schedule=None,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        doc_md=__doc__,
        tags=["bluegreen", app.id],
        params=deploy_params(app),
    ) as dag:
        resolve_ref = ResolveRefOperator(
            app_id=app.id, task_id="resolve_ref", begins_deploy="lock", begins_dry_run="check", retries=0
        )
        check = DryRunOperator(app_id=app.id, task_id="check", instead=True, retries=0)
        lock = AcquireLockOperator(app_id=app.id, task_id="lock", purpose=PURPOSE)
        revision = resolve_ref.output
        provision_check = ProvisionCheckOperator(
            app_id=app.id, task_id="provision_check", lock=lock.output, revision=revision
        )
        idle_ips = provision_check.output
        plan = XComArg(provision_check, PLAN_KEY)

        render_and_reload = RenderAndReloadOperator(
            app_id=app.id, task_id="render_and_reload", lock=lock.output, plan=plan
        )
        # Requests that began before the last switch end on the color that this run is about to stop.
        drain = DrainOperator(app_id=app.id, task_id="drain", lock=lock.output, plan=plan)
        deploy = DeployReleaseOperator.partial(
            app_id=app.id,
            task_id="deploy",
            lock=lock.output,
            plan=plan,
            revision=revision,
            map_index_template="{{ droplet_name }}",
        ).expand(ip=idle_ips)
        health_check = HealthCheckSensor(
            app_id=app.id,
            task_id="health_check",
            lock=lock.output,
            plan=plan,
            revision=revision,
            poke_interval=app.health.interval,
            timeout=app.health.timeout * 2,
        )
        preview_check = PreviewCheckOperator(
            app_id=app.id, task_id="preview_check", lock=lock.output, plan=plan, revision=revision
        )
        approval = SwitchApprovalOperator(
            app_id=app.id,
            task_id="approval",
            subject="Switch {{ params.ref }} live?",
            response_timeout=timedelta(seconds=app.timeouts.approval),
            lock=lock.output,
            plan=plan,
            revision=revision,
            baseline=preview_check.output,
        )
        switch_traffic = SwitchTrafficOperator(
            app_id=app.id, task_id="switch_traffic", lock=lock.output, plan=plan, revision=revision
        )
        final_validation = FinalValidationOperator(
            app_id=app.id,
            task_id="final_validation",
            lock=lock.output,
            plan=plan,
            revision=revision,
            switched=switch_traffic.output,
            baseline=preview_check.output,
            retries=0,
        )
        judge = JudgeOperator(task_id="judge", trigger_rule="all_done")
        confirm = ConfirmOperator(app_id=app.id, task_id="confirm", lock=lock.output, revision=revision)
        rollback = RollbackOperator(app_id=app.id, task_id="rollback", lock=lock.output)
        report = ReportOperator(app_id=app.id, task_id="report", subject=SUBJECT).as_teardown(
            on_failure_fail_dagrun=True
        )

        chain(
            resolve_ref,
            lock,
            provision_check,
            [render_and_reload, drain],
            deploy,
            health_check,
            preview_check,
            approval,
            switch_traffic,
            final_validation,
            judge,
            [confirm, rollback],
            report,
        )
        chain(judge, report)
        stop_idle_later(app, lock, [confirm, rollback], report)
        chain(resolve_ref, check, report)
        add_command_hooks(dag, app, lock=lock.output, revision=revision)
        announce(report)
    return dag


globals().update(dags_for_every_app(deploy_dag, "bluegreen_deploy"))
