"""What is decided after the bake."""

from __future__ import annotations

import pytest

from bluegreen.color import Color
from bluegreen.operators.judge import JudgeOperator
from tests.unit.runs import context, plan

pytestmark = pytest.mark.usefixtures("trusting")


@pytest.mark.parametrize(
    ("states", "branch"),
    [
        ({"final_validation": "success"}, "confirm"),
        ({"final_validation": "failed", "lock": "success"}, "rollback"),
        ({"final_validation": "upstream_failed", "lock": "success"}, "rollback"),
        ({"final_validation": "upstream_failed", "lock": "failed"}, "report"),
        ({"final_validation": "skipped", "lock": "success", "check": "skipped"}, "report"),
        ({"final_validation": "skipped", "lock": "skipped", "check": "failed"}, "report"),
        ({"final_validation": "skipped", "lock": "success", "check": "failed"}, "rollback"),
    ],
)
def test_the_judge_follows_the_states_of_the_tasks(states: dict[str, str], branch: str) -> None:
    judge = JudgeOperator(task_id="judge")
    assert judge.choose_branch(context(states)) == branch


BAD = {"lock": "success", "provision_check": "success", "final_validation": "failed"}


@pytest.mark.parametrize(
    ("states", "branch"),
    [
        ({**BAD, "switch_traffic": "success", "freeze": "none"}, "freeze"),
        ({**BAD, "switch_traffic": "failed", "freeze": "none"}, "freeze"),
        ({**BAD, "switch_traffic": "upstream_failed", "freeze": "none"}, "rollback"),
        ({**BAD, "switch_traffic": "success", "final_validation": "success", "freeze": "none"}, "confirm"),
        # The app file was changed meanwhile; the proxies do not take the switch back.
        ({**BAD, "switch_traffic": "success"}, "rollback"),
    ],
)
def test_after_an_irreversible_release_was_switched_to_nothing_goes_back(
    states: dict[str, str], branch: str
) -> None:
    left = {**plan(Color.BLUE), "irreversible": "0123: drops users.email"}
    run = context(states, provision_check__plan=left)
    assert JudgeOperator(task_id="judge").choose_branch(run) == branch
    if branch == "freeze":
        reversible = context(states, provision_check__plan=plan(Color.BLUE))
        assert JudgeOperator(task_id="judge").choose_branch(reversible) == "rollback"
