"""The task ``status``."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks.run import findings_in
from bluegreen.checks.status import status_of
from bluegreen.errors import BlueGreenError
from bluegreen.operators import status as status_operator
from bluegreen.operators.status import StatusOperator
from bluegreen.operators.support import metrics
from tests.unit.facts import facts


@pytest.mark.parametrize("readable", [True, False])
def test_the_status_is_returned_whether_or_not_the_live_color_is_known(
    monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    found = facts() if readable else facts(statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")})
    known: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: known.update({key: value}))
    monkeypatch.setattr(status_operator, "collect", lambda app, ref: found)
    monkeypatch.setattr(status_operator, "read_runs", lambda facts: [])
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    task = StatusOperator(app_id="my_perl_app", task_id="status")
    with (
        nullcontext()
        if readable
        else pytest.raises(AirflowFailException, match="nobody can be asked who is live")
    ):
        known["return_value"] = task.execute({"ti": ti})  # type: ignore[typeddict-item]
    expected = status_of(found, findings_in(found), [])
    assert known["return_value"] == expected.model_dump(mode="json")
    assert ("error" in known) is not readable
