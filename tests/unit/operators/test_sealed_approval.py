"""An approval counts only as its task has sealed it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import PolicyError
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.support.seals import LockSeals, Seals
from tests.unit.operators.sealed_runs import (
    APP,
    BOTH,
    EVIL,
    GOOD,
    LATER,
    LOCK,
    TWO,
    approved,
    deployed,
    renamed,
)
from tests.unit.repositories import app_of
from tests.unit.runs import Run


def test_an_approval_that_was_given_counts() -> None:
    assert LockSeals(approved(Run()).this, APP, LOCK).require_approval(GOOD, irreversible=False) == "alice"
    assert Seals(approved(Run()).this, APP).approver() == "alice"


REFUSAL = r"nobody has approved this switch, and it needs that \(setting policy\.approval: always\)"


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Run, id="the task was marked successful by hand"),
        pytest.param(lambda: approved(Run(), EVIL), id="of another revision"),
        pytest.param(lambda: approved(Run(), lock=LATER), id="of another attempt of this run"),
        pytest.param(lambda: renamed(approved(Run("yesterday"))), id="of another run"),
        pytest.param(lambda: forged(approved(Run())), id="by another user"),
    ],
)
def test_an_approval_that_was_not_given_does_not_count(run: Callable[[], Run]) -> None:
    with pytest.raises(PolicyError, match=REFUSAL):
        LockSeals(run().this, APP, LOCK).require_approval(GOOD, irreversible=False)


def forged(run: Run) -> Run:
    """Change who approved."""
    run.xcoms["approval", "answer"] |= {"approver": "the boss"}
    return run


def test_a_run_that_needs_no_approval_is_not_asked_for_one() -> None:
    free = app_of("https://example.com/shop.git", approval="never")
    assert (
        LockSeals(Run(require_approval=True).this, free, LOCK).require_approval(GOOD, irreversible=False)
        is None
    )


@pytest.mark.parametrize("goes_back", [False, True])
def test_the_switch_itself_refuses_without_an_answer_and_a_rollback_needs_none(
    monkeypatch: pytest.MonkeyPatch, goes_back: bool
) -> None:
    run = deployed(Run(first="previous_release" if goes_back else "resolve_ref"), *BOTH)
    asked: list[str] = []

    def move(**said: Any) -> dict[str, Any]:
        asked.append(said["revision"])
        return {}

    hook = SimpleNamespace(switch=move)
    task: Any = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id="my_perl_app",
        lock=LOCK.model_dump(mode="json"),
        plan=TWO.model_dump(mode="json"),
        revision=GOOD,
        goes_back=goes_back,
    )
    task.__dict__["app"] = APP
    monkeypatch.setattr(task, "proxies", lambda: hook)
    # As if its traffic had come back by itself, which is all that a rollback has to find here.
    if goes_back:
        with pytest.raises(Exception, match="came back"):
            task.execute(run.context)
    else:
        with pytest.raises(AirflowFailException, match=REFUSAL):
            task.execute(run.context)
    assert asked == ([GOOD] if goes_back else [])
