"""What is left where it is after an irreversible release was found bad."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.operators.freeze import FreezeOperator, freeze
from tests.unit.my_app import app_with
from tests.unit.runs import APP, LOCK, context, plan
from tests.unit.statuses import status_at_end

pytestmark = pytest.mark.usefixtures("trusting")


def run_task(*lives: Color, proxies: Any, run: Any = None) -> Any:
    proxies.statuses.return_value = {f"lb-{one}": status_at_end(live) for one, live in enumerate(lives)}
    task = FreezeOperator(task_id="freeze", app_id=APP, lock=LOCK)
    return task.execute(
        run or context({"provision_check": "success"}, provision_check__plan=plan(Color.BLUE))
    )


@pytest.mark.parametrize("live", Color)
def test_traffic_stays_where_it_is_whether_it_had_moved_or_not(proxies: Any, live: Color) -> None:
    run = context({"provision_check": "success"}, provision_check__plan=plan(Color.BLUE))
    assert run_task(live, live, proxies=proxies, run=run) == live
    assert run["ti"].said["unmoved"] is (live is Color.BLUE)
    # A call that was killed may have left the switch undecided.
    proxies.revert.assert_called_once_with()


def test_a_proxy_that_did_not_follow_is_named(proxies: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"disagree .*\(lb-0: blue, lb-1: green\)"):
        run_task(Color.BLUE, Color.GREEN, proxies=proxies)


def test_an_app_that_refuses_irreversible_releases_has_no_such_task() -> None:
    assert freeze(app_with(), LOCK) == []
    [task] = freeze(app_with(migrations={"irreversible": "allow"}), LOCK)
    assert task.task_id == "freeze"
