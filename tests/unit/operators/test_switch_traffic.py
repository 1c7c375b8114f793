"""The moment traffic moves."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowSkipException,
)

from bluegreen.color import Color
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.support.failures import NOTHING_TO_DO_KEY
from bluegreen.traffic.agent_answers import SwitchResult
from tests.unit.runs import APP, LOCK, REVISION, context, plan, report_of
from tests.unit.statuses import status_at_end

pytestmark = pytest.mark.usefixtures("trusting")


@pytest.mark.parametrize("goes_back", [True, False], ids=["a rollback", "a deploy"])
def test_a_rollback_that_a_timer_has_forestalled_has_nothing_left_to_do(
    proxies: Any, goes_back: bool
) -> None:
    there = SwitchResult.parse({"from": "green", "to": "green", "already": True})
    proxies.switch.return_value = {"lb-1": there}
    task = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id=APP,
        lock=LOCK,
        plan=plan(Color.BLUE),
        revision=REVISION,
        goes_back=goes_back,
    )
    run = context()
    if not goes_back:
        assert task.execute(run)["lb-1"]["already"]
        assert proxies.switch.call_args.kwargs["statuses"] == []
        return
    with pytest.raises(AirflowSkipException, match="came back to green by itself"):
        task.execute(run)
    # The release from before may not know today's health path.
    assert 404 in proxies.switch.call_args.kwargs["statuses"]
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN)}
    found = run["ti"].said[NOTHING_TO_DO_KEY]
    after = context({"switch_traffic": "skipped"}, lock=LOCK, switch_traffic__nothing_to_do=found)
    assert report_of(after, good=True).startswith(
        "deploy of v2: already live: traffic came back to green by itself"
    )
