"""The moment traffic moves."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bluegreen.color import Color
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.support.failures import NOTHING_TO_DO_KEY
from bluegreen.traffic.agent_answers import SwitchResult
from tests.unit.my_app import app_with
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


WHY = "0123: drops users.email"


def switching(monkeypatch: pytest.MonkeyPatch, *, goes_back: bool, setting: str) -> Any:
    task = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id=APP,
        lock=LOCK,
        plan={**plan(Color.BLUE), "irreversible": WHY},
        revision=REVISION,
        goes_back=goes_back,
    )
    monkeypatch.setattr(type(task), "app", app_with(migrations={"irreversible": setting}))
    return task


def test_a_switch_to_an_irreversible_release_is_made_for_good(
    monkeypatch: pytest.MonkeyPatch, proxies: Any
) -> None:
    moved = SwitchResult.parse({"from": "blue", "to": "green", "at": 1.0})
    proxies.switch.return_value = {"lb-1": moved}
    switching(monkeypatch, goes_back=False, setting="allow").execute(context())
    assert proxies.switch.call_args.kwargs["irreversible"] == WHY
    # A rollback's plan says so of the release that it leaves.
    switching(monkeypatch, goes_back=True, setting="allow").execute(context())
    assert proxies.switch.call_args.kwargs["irreversible"] is None


def test_the_apps_file_as_it_is_at_the_switch_decides(monkeypatch: pytest.MonkeyPatch, proxies: Any) -> None:
    with pytest.raises(AirflowFailException, match="it is irreversible: 0123: drops"):
        switching(monkeypatch, goes_back=False, setting="refuse").execute(context())
    proxies.switch.assert_not_called()
