"""Move the traffic back to the color that was live before, with the release that was confirmed there last.

No argument is needed. `revision` names another release that was live before and is still on the idle
droplets. If traffic was moved back already, by a timer or by another rollback, it stays where it is: the
other color has the release that it came from.
If the proxies disagree about the live color, the rollback makes them agree instead: on the color from before
the interrupted switch, or on the one that `live` names. Where not all have followed a switch to an
irreversible release, a person has to decide: by `live` for that release, or by `i_know` for the one from
before.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, XComArg, chain

from bluegreen.dag_building.every_app import (
    dag_of,
    dags_for_every_app,
    only_after,
    report_and_announce,
    stop_idle_later,
)
from bluegreen.dag_building.processes import move_processes
from bluegreen.dag_building.trigger_form import rollback_params
from bluegreen.operators.align import AlignOperator
from bluegreen.operators.confirm import ConfirmOperator
from bluegreen.operators.drain import DrainOperator
from bluegreen.operators.final_validation import FinalValidationOperator
from bluegreen.operators.judge import JudgeOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.preview_check import PreviewCheckOperator
from bluegreen.operators.previous_release import PreviousReleaseOperator
from bluegreen.operators.provision_check import ProvisionCheckOperator
from bluegreen.operators.render_and_reload import RenderAndReloadOperator
from bluegreen.operators.restore import RestoreOperator
from bluegreen.operators.rollback import RollbackOperator
from bluegreen.operators.support.this_run import PLAN_KEY, PREVIOUS_KEY, REVISION_KEY
from bluegreen.operators.switch_traffic import SwitchTrafficOperator
from bluegreen.settings.app import App

SUBJECT = "rollback{% if params.revision %} to {{ params.revision }}{% endif %}"


def rollback_dag(app: App) -> DAG:
    """Build the rollback DAG of one app."""
    with dag_of("rollback", app, __doc__, params=rollback_params()) as dag:
        lock = AcquireLockOperator(task_id="lock", purpose=SUBJECT, goes_back=True)
        provision_check = ProvisionCheckOperator(task_id="provision_check", lock=lock.output, goes_back=True)
        planned: dict[str, Any] = {"lock": lock.output, "plan": XComArg(provision_check, PLAN_KEY)}
        align = AlignOperator(task_id="align", **planned)
        previous_release = PreviousReleaseOperator(
            task_id="previous_release", activation=["render_and_reload", "drain", "restore"], **planned
        )
        revision = XComArg(previous_release, REVISION_KEY)
        release = planned | {"revision": revision}
        # What is started is started with today's settings, and HAProxy has to know them.
        render_and_reload = RenderAndReloadOperator(task_id="render_and_reload", **planned)
        drain = DrainOperator(task_id="drain", **planned)
        restore = RestoreOperator.partial(
            task_id="restore",
            map_index_template="{{ droplet_name }}",
            previous=XComArg(previous_release, PREVIOUS_KEY),
            **release,
        ).expand(ip=previous_release.output)
        preview_check = PreviewCheckOperator(
            task_id="preview_check",
            goes_back=True,
            # Whether there was something to restore or not.
            trigger_rule="none_failed_min_one_success",
            **release,
        )
        switch_traffic = SwitchTrafficOperator(task_id="switch_traffic", goes_back=True, **release)
        final_validation = FinalValidationOperator(
            task_id="final_validation",
            switched=switch_traffic.output,
            baseline=preview_check.output,
            goes_back=True,
            retries=0,
            **release,
        )
        judge = JudgeOperator(task_id="judge", trigger_rule="all_done")
        confirm = ConfirmOperator(task_id="confirm", lock=lock.output, revision=revision)
        rollback = RollbackOperator(task_id="rollback", lock=lock.output)
        report = report_and_announce(SUBJECT)

        chain(lock, provision_check, align, previous_release)
        chain(previous_release, [render_and_reload, drain], restore, preview_check)
        chain(previous_release, preview_check, switch_traffic, final_validation)
        only_after(preview_check, previous_release, restore)
        chain(final_validation, judge, [confirm, rollback], report)
        chain(judge, report)
        # However it ended; and not at the beginning, which would start them with the release to go back from.
        move_processes(app, lock, [confirm, rollback], report, trigger_rule="all_done")
        stop_idle_later(app, lock, [confirm, rollback], report)
    return dag


globals().update(dags_for_every_app(rollback_dag, "bluegreen_rollback"))
