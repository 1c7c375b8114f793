"""The lock of a run that was cleared."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
)

from bluegreen.operators import lock
from bluegreen.operators.judge import JudgeOperator
from tests.unit.runs import APP, context

pytestmark = pytest.mark.usefixtures("trusting")


def test_a_run_that_was_cleared_in_part_is_not_run_again(proxies: Any) -> None:
    with DAG("deploy", schedule=None):
        task = lock.AcquireLockOperator(task_id="lock", app_id=APP, purpose="deploy of v2")
        judge = JudgeOperator(task_id="judge")
        task >> judge >> EmptyOperator(task_id="announce").as_teardown()
    with pytest.raises(AirflowFailException, match=r"ended before \(judge\) .* trigger a new run"):
        task.execute(context({"lock": "running", "judge": "success", "announce": "success"}))
