"""The task ``check`` of a dry run."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks.facts import (
    Source,
)
from bluegreen.checks.release_facts import PendingMigrations
from bluegreen.errors import BlueGreenError
from bluegreen.operators import check
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.support import metrics
from tests.unit.facts import MAIN, facts, load, server
from tests.unit.fleets import V2


@pytest.mark.parametrize(
    ("source", "pushed"), [(MAIN, V2), (BlueGreenError("there is no branch or tag 'main'"), None)]
)
def test_a_dry_run_reports_its_revision(
    monkeypatch: pytest.MonkeyPatch, source: Source | BlueGreenError, pushed: str | None
) -> None:
    known: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: known.update({key: value}))
    monkeypatch.setattr(check, "collect", lambda *_, **__: facts(source=source))
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    with suppress(AirflowFailException):
        DryRunOperator(app_id="my_perl_app", task_id="check", ref="main").execute({"ti": ti, "params": {}})  # type: ignore[typeddict-item]
    assert known.get("revision") == pushed
    assert ("; not checked: whether main" in known["summary"]) is (pushed is not None)


def test_a_dry_run_s_line_says_which_migrations_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: known.update({key: value}))
    asked = server(load=load(), migrations=PendingMigrations(status=0, pending="3 pending"))
    monkeypatch.setattr(check, "collect", lambda *_, **__: facts(source=MAIN, servers={"green-1": asked}))
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    with suppress(AirflowFailException):
        DryRunOperator(app_id="my_perl_app", task_id="check", ref="main").execute({"ti": ti, "params": {}})  # type: ignore[typeddict-item]
    assert "; migrations of main: 3 pending" in known["summary"]


@pytest.mark.parametrize("instead", [False, True])
def test_a_dry_run_of_nothing_does_not_say_that_it_would_succeed(
    monkeypatch: pytest.MonkeyPatch, instead: bool
) -> None:
    """Where an artifact may be deployed, the form lets the ref be empty."""
    monkeypatch.setattr(check, "collect", lambda *_, **__: facts())
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    ti = SimpleNamespace(xcom_push=lambda key, value: None)
    task = DryRunOperator(app_id="my_perl_app", task_id="check", ref="", instead=instead)
    with pytest.raises(AirflowFailException, match="nothing says what to deploy: give ref or artifact"):
        task.execute({"ti": ti, "params": {"artifact": None}})  # type: ignore[typeddict-item]
