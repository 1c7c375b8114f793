"""What a run is."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.operators.render_and_reload import RenderAndReloadOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.operators.rollback import RollbackOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.sensors.health_check import HealthCheckSensor
from tests.unit.runs import APP, LOCK, REVISION, context

pytestmark = pytest.mark.usefixtures("trusting")


def test_a_rollback_with_a_parameter_of_a_deploy_is_neither_a_dry_run_nor_an_emergency() -> None:
    run: Any = {**context({"lock": "failed"}), "params": {"dry_run": True, "emergency": True}}
    assert ThisRun(run).is_dry_run
    assert ThisRun(run).is_emergency
    run["dag"].params = {"revision": None, "live": None}
    assert not ThisRun(run).is_dry_run
    assert not ThisRun(run).is_emergency


OLD_LOCK = {"load_balancers": LOCK["proxies"], "tokens": LOCK["tokens"]}
OLD_PLAN: dict[str, Any] = {"live": "blue", "idle": "green", "fleet": {"load_balancers": [], "blue": []}}


@pytest.mark.parametrize(
    "task",
    [
        HealthCheckSensor(
            task_id="health_check", app_id=APP, lock=OLD_LOCK, plan=OLD_PLAN, revision=REVISION
        ),
        RenderAndReloadOperator(task_id="render_and_reload", app_id=APP, lock=LOCK, plan=OLD_PLAN),
        RollbackOperator(task_id="rollback", app_id=APP, lock=OLD_LOCK),
        ReportOperator(task_id="report", app_id=APP, subject="deploy of v2"),
    ],
    ids=lambda task: str(task.task_id),
)
def test_a_run_that_was_begun_by_an_earlier_version_fails_with_what_to_do(task: Any) -> None:
    run = context({"lock": "success"}, lock=OLD_LOCK)
    with pytest.raises(AirflowFailException, match=r"it was upgraded meanwhile.*; trigger a new run"):
        (task.poke if isinstance(task, HealthCheckSensor) else task.execute)(run)
    assert "trigger a new run" in run["ti"].said["error"]
