"""Deploy a revision to the idle color, move the traffic to it, and keep or take back the switch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, XComArg, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce, stop_idle_later
from bluegreen.dag_building.processes import move_processes, settle_processes
from bluegreen.dag_building.trigger_form import deploy_params
from bluegreen.operators.approval import SwitchApprovalOperator
from bluegreen.operators.build import BuildOperator
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.confirm import ConfirmOperator
from bluegreen.operators.deploy import DeployOperator
from bluegreen.operators.drain import DrainOperator
from bluegreen.operators.expand import expand
from bluegreen.operators.final_validation import FinalValidationOperator
from bluegreen.operators.freeze import freeze
from bluegreen.operators.judge import JudgeOperator
from bluegreen.operators.lifecycle_commands import LifecycleCommandsOperator, lifecycle_commands
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
from bluegreen.settings.hooks import Moment

WHAT = "{{ params.ref or 'artifact ' ~ params.artifact[:12] }}"
PURPOSE = f"deploy of {WHAT}" + "{% if params.reason %}: {{ params.reason }}{% endif %}"
KIND = "'dry run' if params.dry_run else 'emergency deploy' if params.emergency else 'deploy'"
SUBJECT = f"{{{{ {KIND} }}}} of {WHAT}"


def deploy_dag(app: App) -> DAG:
    """Build the deploy DAG of one app."""
    with dag_of("deploy", app, __doc__, params=deploy_params(app)) as dag:
        resolve_ref = ResolveRefOperator(
            task_id="resolve_ref", begins_deploy="lock", begins_dry_run="check", retries=0
        )
        check = DryRunOperator(task_id="check", instead=True, retries=0)
        lock = AcquireLockOperator(task_id="lock", purpose=PURPOSE)
        revision = resolve_ref.output
        locked: dict[str, Any] = {"lock": lock.output}
        provision_check = ProvisionCheckOperator(task_id="provision_check", revision=revision, **locked)
        planned = locked | {"plan": XComArg(provision_check, PLAN_KEY)}
        release = planned | {"revision": revision}
        render_and_reload = RenderAndReloadOperator(task_id="render_and_reload", **planned)
        drain = DrainOperator(task_id="drain", **planned)
        build = BuildOperator(task_id="build", **release)
        deploy = DeployOperator.partial(
            task_id="deploy", map_index_template="{{ droplet_name }}", built=build.output, **release
        ).expand(ip=provision_check.output)
        health_check = HealthCheckSensor(
            task_id="health_check",
            poke_interval=app.health.interval,
            # A backstop; the sensor ends by itself and names what is not healthy.
            timeout=app.health.timeout * 2,
            **release,
        )
        preview_check = PreviewCheckOperator(task_id="preview_check", **release)
        approval = SwitchApprovalOperator(
            task_id="approval",
            subject=f"Switch {WHAT} live?",
            response_timeout=timedelta(seconds=app.timeouts.approval),
            baseline=preview_check.output,
            **release,
        )
        switch_traffic = SwitchTrafficOperator(task_id="switch_traffic", **release)
        final_validation = FinalValidationOperator(
            task_id="final_validation",
            switched=switch_traffic.output,
            baseline=preview_check.output,
            retries=0,
            **release,
        )
        judge = JudgeOperator(task_id="judge", trigger_rule="all_done")
        report = report_and_announce(SUBJECT)
        commands = lifecycle_commands(app, lock=lock.output, revision=revision)
        before_deploy, before_switch = commands(Moment.BEFORE_DEPLOY), commands(Moment.BEFORE_SWITCH)

        chain(resolve_ref, lock, provision_check, [render_and_reload, drain], *before_deploy, build)
        # Also if there is nothing to deploy. What is wrong with a process does not prevent its own remedy.
        settle_processes(app, lock, after=lock, before=[build, report], goes_on=True)
        chain(build, *expand(app, build.output, **release), deploy, health_check, preview_check, approval)
        chain(approval, *before_switch, switch_traffic, final_validation, judge, report)
        chain(resolve_ref, check, report)
        chain(switch_traffic, *commands(Moment.AFTER_SWITCH), report)
        _add_ends(app, lock, revision, judge, commands, report)
    return dag


def _add_ends(
    app: App,
    lock: AcquireLockOperator,
    revision: XComArg,
    judge: JudgeOperator,
    commands: Callable[[Moment], list[LifecycleCommandsOperator]],
    report: ReportOperator,
) -> None:
    """Add the tasks that the judge chooses from, and what follows them."""
    confirm = ConfirmOperator(task_id="confirm", lock=lock.output, revision=revision)
    rollback = RollbackOperator(task_id="rollback", lock=lock.output)
    frozen = freeze(app, lock.output)
    ends = [confirm, rollback, *frozen]

    chain(judge, ends, report)
    chain(rollback, *commands(Moment.AFTER_ROLLBACK), report)
    chain(ends, *commands(Moment.ON_FAILURE), report)
    # One of them is always skipped.
    follows: dict[str, Any] = {"trigger_rule": "none_failed_min_one_success"} if frozen else {}
    move_processes(app, lock, [confirm, *frozen], report, **follows)
    stop_idle_later(app, lock, ends, report)


globals().update(dags_for_every_app(deploy_dag, "bluegreen_deploy"))
