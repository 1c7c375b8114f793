"""What the tasks of a run do not believe, whatever was changed by hand in Airflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen.color import Color
from bluegreen.errors import PolicyError
from bluegreen.operators.support.seals import LockSeals, Seals, older_than_live
from bluegreen.run.plan import Plan
from bluegreen.run.seal import key_from, opened, sealed
from tests.unit.fleets import ONE_EACH
from tests.unit.operators.sealed_runs import (
    APP,
    EVIL,
    GOOD,
    LATER,
    LOCK,
    OTHER_GOOD,
    PLAN,
    checked,
    renamed,
)
from tests.unit.repositories import app_of
from tests.unit.runs import Run


def test_a_revision_is_believed_only_as_the_first_task_found_it() -> None:
    run = Run()
    Seals(run.this, APP).seal_revision(GOOD)
    Seals(run.this, APP).require_revision(GOOD)
    with pytest.raises(
        PolicyError, match="eeeeeeeeeeee may not be used: the task resolve_ref did not find it"
    ):
        Seals(run.this, APP).require_revision(EVIL)
    run.xcoms["resolve_ref", "sealed"] |= {"revision": EVIL}
    with pytest.raises(PolicyError, match="changed by hand"):
        Seals(run.this, APP).require_revision(EVIL)
    with pytest.raises(PolicyError):
        Seals(Run().this, APP).require_revision(GOOD)


def test_what_was_found_in_another_run_does_not_count() -> None:
    old, run = Run("yesterday"), Run()
    Seals(old.this, APP).seal_revision(GOOD)
    run.xcoms = old.xcoms
    with pytest.raises(PolicyError):
        Seals(run.this, APP).require_revision(GOOD)


def test_a_rollback_believes_the_task_that_found_its_release() -> None:
    run = Run(first="previous_release")
    Seals(run.this, APP).seal_revision(GOOD)
    Seals(run.this, APP).require_revision(GOOD)


@pytest.mark.parametrize("first", ["resolve_ref", "previous_release"])
def test_what_the_tasks_of_a_run_have_found_counts(first: str) -> None:
    run = checked(Run(first=first))
    # As Airflow hands it over.
    plan = Plan.model_validate_json(PLAN.model_dump_json())
    for revision in (GOOD, GOOD if first == "resolve_ref" else None):
        LockSeals(run.this, APP, LOCK).require_plan(revision, plan)
    for task_id in ("preview_check", "final_validation"):
        LockSeals(run.this, APP, LOCK).require_done(task_id, GOOD)


@pytest.mark.parametrize(
    ("run", "revision", "plan"),
    [
        pytest.param(Run, GOOD, PLAN, id="the task was marked successful by hand"),
        pytest.param(lambda: checked(Run(), LATER), GOOD, PLAN, id="made under another lock"),
        pytest.param(lambda: checked(Run()), EVIL, PLAN, id="made for another revision"),
        pytest.param(
            lambda: checked(Run(first="previous_release")),
            GOOD,
            PLAN.model_copy(update=OTHER_GOOD),
            id="changed by hand in a rollback",
        ),
        pytest.param(lambda: renamed(checked(Run("yesterday"))), GOOD, PLAN, id="of another run"),
    ],
)
def test_a_plan_that_the_run_has_not_made_as_things_are_now_is_not_followed(
    run: Callable[[], Run], revision: str, plan: Plan
) -> None:
    with pytest.raises(PolicyError, match="the task provision_check has not done this under the lock"):
        LockSeals(run().this, APP, LOCK).require_plan(revision, plan)


@pytest.mark.parametrize("task_id", ["preview_check", "final_validation"])
@pytest.mark.parametrize(
    ("run", "revision"),
    [
        pytest.param(Run, GOOD, id="marked successful by hand"),
        pytest.param(lambda: checked(Run(), LATER), GOOD, id="done under another lock"),
        pytest.param(lambda: checked(Run()), EVIL, id="done with another revision"),
        pytest.param(lambda: swapped(checked(Run())), GOOD, id="said by another task"),
    ],
)
def test_work_that_a_task_has_not_done_does_not_count(
    task_id: str, run: Callable[[], Run], revision: str
) -> None:
    with pytest.raises(PolicyError, match=f"the task {task_id} has not done this under the lock"):
        LockSeals(run().this, APP, LOCK).require_done(task_id, revision)


def swapped(run: Run) -> Run:
    """Let each task say what the other has said."""
    one, other = ("preview_check", "done"), ("final_validation", "done")
    run.xcoms[one], run.xcoms[other] = run.xcoms[other], run.xcoms[one]
    return run


def test_the_report_says_who_forced_an_older_revision() -> None:
    run = Run(allow_older=True)
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH, older="older than live (abc) by 2 commits")
    run.xcoms["provision_check", "plan"] = plan.model_dump(mode="json")
    assert older_than_live(run.this, APP) == "older than live (abc) by 2 commits, forced by bob"
    always = app_of("https://example.com/shop.git", allow_older="always")
    assert older_than_live(run.this, always) == "older than live (abc) by 2 commits"


def test_a_seal_is_of_one_key_and_one_statement() -> None:
    key = key_from("secret")
    statement = {"a": 1, "b": ["x"]}
    assert opened(key, sealed(key, statement)) == statement
    assert opened(key_from("other"), sealed(key, statement)) is None
    assert opened(key, {**sealed(key, statement), "c": 1}) is None
    for found in (None, "x", {}, {"seal": 1}, {"a": 1, "seal": "é"}):
        assert opened(key, found) is None
