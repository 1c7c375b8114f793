"""Decide after the bake, or after whatever went wrong: keep the switch, take it back, or freeze."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseBranchOperator

from bluegreen.operators.freeze import FREEZE
from bluegreen.operators.support.this_run import PLAN_KEY, ThisRun
from bluegreen.run.outcome import may_have_switched

if TYPE_CHECKING:
    from airflow.sdk import Context


class JudgeOperator(BaseBranchOperator):
    """Decide from the recorded task states; runs whatever happened before it."""

    def choose_branch(self, context: Context) -> str:
        """Return the id of the task to follow: ``confirm``, ``rollback``, ``freeze``, or ``report`` alone.

        The last if nothing was to be done, or if without the lock nothing can have been changed.
        """
        run = ThisRun(context)
        states = run.states
        if states.get("final_validation") == "success":
            return "confirm"
        if states.get("final_validation") == "skipped" and "failed" not in states.values():
            return "report"
        if states.get("lock") != "success":
            return "report"
        # The plan is not parsed: whatever is wrong with it, a rollback has to follow.
        irreversible = (run.output("provision_check", PLAN_KEY) or {}).get("irreversible")
        freezes = irreversible and FREEZE in run.task_ids and may_have_switched(states)
        return FREEZE if freezes else "rollback"
