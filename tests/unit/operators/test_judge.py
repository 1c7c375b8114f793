"""What is decided after the bake."""

from __future__ import annotations

import pytest

from bluegreen.operators.judge import JudgeOperator
from tests.unit.runs import context

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
