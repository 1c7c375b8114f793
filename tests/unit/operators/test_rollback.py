"""Taking a switch back after a failure."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
)

from bluegreen.color import Color
from bluegreen.operators import rollback
from bluegreen.run.report import RollbackResult
from bluegreen.traffic.agent_answers import RevertResult
from tests.unit.runs import APP, LOCK, context, plan
from tests.unit.statuses import reverted, status_at_end

pytestmark = pytest.mark.usefixtures("trusting")


def roll_back(states: dict[str, str] | None = None, **xcoms: Any) -> dict[str, Any]:
    task = rollback.RollbackOperator(task_id="rollback", app_id=APP, lock=LOCK)
    return dict(RollbackResult.model_validate(task.execute(context(states, **xcoms))))


def test_a_first_deploy_has_nothing_to_go_back_to_and_its_rollback_does_not_pretend_trouble(
    proxies: Any,
) -> None:
    proxies.revert.return_value = {"lb-1": RevertResult.parse({"from": None, "to": None, "reverted": False})}
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN)}
    assert roll_back(provision_check__plan=plan(None))["live"] is Color.GREEN


def test_traffic_that_is_not_back_where_it_was_is_trouble(proxies: Any) -> None:
    proxies.revert.return_value = {}
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN)}
    with pytest.raises(AirflowFailException, match="goes to green, but before this run it went to blue"):
        roll_back(provision_check__plan=plan(Color.BLUE))


def test_a_run_that_made_no_plan_moves_nothing_and_sees_that_all_agree(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    ended = roll_back({"provision_check": "failed"})
    assert (ended["live"], ended["moved"], ended["taken_back"]) == (Color.BLUE, False, False)
    # HAProxy may not even run there yet, which the agent would call a mistake.
    proxies.revert.assert_not_called()


def test_the_plan_that_a_run_made_before_it_was_cleared_says_nothing_about_who_was_live(
    proxies: Any,
) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN)}
    cleared = {"provision_check": "upstream_failed"}
    assert roll_back(cleared, provision_check__plan=plan(Color.BLUE))["live"] is Color.GREEN


def test_a_switch_that_a_timer_took_back_before_the_rollback_counts_as_taken_back(
    proxies: Any,
) -> None:
    proxies.revert.return_value = {}
    taken_back = reverted("deploy/run", at=200.0)
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE, last_revert=taken_back)}
    ended = roll_back(provision_check__plan=plan(Color.BLUE))
    assert (ended["moved"], ended["taken_back"]) == (False, True)
