"""What the tasks of a run do not believe, whatever was changed by hand in Airflow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.app import App
from bluegreen.color import Color
from bluegreen.errors import PolicyError
from bluegreen.operators import switch
from bluegreen.operators.policy import (
    approver_of,
    demand_approval,
    demand_vouched,
    older_than_live,
    record_answer,
    vouch_for,
)
from bluegreen.plan import HeldLock, Plan
from bluegreen.seal import key_from, opened, sealed
from tests.unit.repositories import app_of
from tests.unit.test_operators import FLEET, LB

GOOD, EVIL = "a" * 40, "e" * 40
LOCK = HeldLock(load_balancers=(LB,), tokens={"lb-1": 7})
LATER = LOCK.model_copy(update={"tokens": {"lb-1": 8}})
NOW = datetime(2026, 11, 30, tzinfo=UTC)
APP: App = app_of("https://example.com/shop.git", approval="always")


class Run:
    """A run whose tasks tell each other what a test lets them."""

    def __init__(self, run_id: str = "run", first: str = "resolve_ref", **params: Any) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.task_id = first
        self.dag_id, self.run_id, self.map_index = "deploy", run_id, -1
        self.states = {first: "success", "approval": "success", "provision_check": "success"}
        run = SimpleNamespace(
            dag_id="deploy",
            run_id=run_id,
            triggering_user_name="bob",
            run_type=SimpleNamespace(value="manual"),
        )
        dag = SimpleNamespace(task_ids=[first, "approval"])
        self.context: Any = {"ti": self, "dag_run": run, "dag": dag, "params": params}

    def xcom_push(self, key: str, value: Any) -> None:
        """Push as the task does whose turn it is."""
        self.xcoms[self.task_id, key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        """Return what a task pushed."""
        return self.xcoms.get((task_ids, key))

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        """Return the states of all tasks."""
        return {self.run_id: self.states}


def test_a_revision_is_believed_only_as_the_first_task_found_it() -> None:
    run = Run()
    vouch_for(run.context, APP, GOOD)
    demand_vouched(run.context, APP, GOOD)
    with pytest.raises(
        PolicyError, match="eeeeeeeeeeee may not be used: the task resolve_ref did not find it"
    ):
        demand_vouched(run.context, APP, EVIL)
    run.xcoms["resolve_ref", "sealed"] |= {"revision": EVIL}
    with pytest.raises(PolicyError, match="changed by hand"):
        demand_vouched(run.context, APP, EVIL)
    with pytest.raises(PolicyError):
        demand_vouched(Run().context, APP, GOOD)


def test_what_was_found_in_another_run_does_not_count() -> None:
    old, run = Run("yesterday"), Run()
    vouch_for(old.context, APP, GOOD)
    run.xcoms = old.xcoms
    with pytest.raises(PolicyError):
        demand_vouched(run.context, APP, GOOD)


def test_a_rollback_believes_the_task_that_found_its_release() -> None:
    run = Run(first="previous_release")
    vouch_for(run.context, APP, GOOD)
    demand_vouched(run.context, APP, GOOD)


def approved(run: Run, revision: str = GOOD, lock: HeldLock = LOCK) -> Run:
    run.task_id = "approval"
    record_answer(run.context, APP, revision, lock, "alice", NOW)
    return run


def test_an_approval_that_was_given_counts() -> None:
    assert demand_approval(approved(Run()).context, APP, GOOD, LOCK) == "alice"
    assert approver_of(approved(Run()).context, APP) == "alice"


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
        demand_approval(run().context, APP, GOOD, LOCK)


def renamed(run: Run) -> Run:
    """Put the answers of one run into another."""
    other = Run()
    other.xcoms = run.xcoms
    return other


def forged(run: Run) -> Run:
    """Change who approved."""
    run.xcoms["approval", "answer"] |= {"approver": "the boss"}
    return run


def test_a_run_that_needs_no_approval_is_not_asked_for_one() -> None:
    free = app_of("https://example.com/shop.git", approval="never")
    assert demand_approval(Run(require_approval=True).context, free, GOOD, LOCK) is None


@pytest.mark.parametrize("goes_back", [False, True])
def test_the_switch_itself_refuses_without_an_answer_and_a_rollback_needs_none(
    monkeypatch: pytest.MonkeyPatch, goes_back: bool
) -> None:
    run = Run(first="previous_release" if goes_back else "resolve_ref")
    vouch_for(run.context, APP, GOOD)
    asked: list[str] = []

    def move(**said: Any) -> dict[str, Any]:
        asked.append(said["revision"])
        return {}

    hook = SimpleNamespace(switch=move)
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")
    task: Any = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id="my_perl_app",
        lock=LOCK.model_dump(mode="json"),
        plan=plan,
        revision=GOOD,
        goes_back=goes_back,
    )
    task.__dict__["app"] = APP
    monkeypatch.setattr(task, "load_balancers", lambda: hook)
    # As if its traffic had come back by itself, which is all that a rollback has to find here.
    if goes_back:
        with pytest.raises(Exception, match="came back"):
            task.execute(run.context)
    else:
        with pytest.raises(AirflowFailException, match=REFUSAL):
            task.execute(run.context)
    assert asked == ([GOOD] if goes_back else [])


def test_the_report_says_who_forced_an_older_revision() -> None:
    run = Run(allow_older=True)
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET, older="older than live (abc) by 2 commits")
    run.xcoms["provision_check", "plan"] = plan.model_dump(mode="json")
    assert older_than_live(run.context, APP) == "older than live (abc) by 2 commits, forced by bob"
    always = app_of("https://example.com/shop.git", allow_older="always")
    assert older_than_live(run.context, always) == "older than live (abc) by 2 commits"


def test_a_seal_is_of_one_key_and_one_statement() -> None:
    key = key_from("secret")
    statement = {"a": 1, "b": ["x"]}
    assert opened(key, sealed(key, statement)) == statement
    assert opened(key_from("other"), sealed(key, statement)) is None
    assert opened(key, {**sealed(key, statement), "c": 1}) is None
    for found in (None, "x", {}, {"seal": 1}, {"a": 1, "seal": "é"}):
        assert opened(key, found) is None
