"""Decide after the bake, or after whatever went wrong: keep the switch or take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseBranchOperator

from bluegreen.operators.support.this_run import ThisRun

if TYPE_CHECKING:
    from airflow.sdk import Context


class JudgeOperator(BaseBranchOperator):
    """Decide from the recorded task states; runs whatever happened before it."""

    def choose_branch(self, context: Context) -> str:
        """Return the id of the task to follow: ``confirm``, ``rollback``, or ``report`` alone.

        The last if nothing was to be done, or if without the lock nothing can have been changed.
        """
        states = ThisRun(context).states
        if states.get("final_validation") == "success":
            return "confirm"
        if states.get("final_validation") == "skipped" and "failed" not in states.values():
            return "report"
        return "rollback" if states.get("lock") == "success" else "report"
