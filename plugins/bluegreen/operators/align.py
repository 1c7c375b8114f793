"""Making proxies agree again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.errors import NothingToDoError
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.live import kept_for_good, require_live

if TYPE_CHECKING:
    from bluegreen.color import Color
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import Confirmed


class AlignOperator(PlannedOperator):
    """Where proxies disagree about who is live, let all send traffic to the plan's live color."""

    def act(self, run: ThisRun) -> None:
        """Return at once if they agree.

        :raises NothingToDoError: if they did not, and now do: that was what there was to do.
        :raises ProxyError: if one cannot follow, because it sees no healthy server there, or must not.
        """
        plan = self.run_plan
        hook = self.proxies()
        statuses = hook.statuses()
        if plan.live is None or all(status.live is plan.live for status in statuses.values()):
            return
        require_live(plan.live, statuses, i_know=bool(run.params.get("i_know")))
        kept = kept_for_good(statuses)
        moved = hook.align(plan.live)
        message = (
            f"the proxies disagreed, and all send traffic to {plan.live} now (moved: {', '.join(moved)})"
        )
        raise NothingToDoError(message + self._about(kept, plan.live), Outcome.ALIGNED)

    def _about(self, kept: Confirmed | None, live: Color) -> str:
        """Return what else there is to know, if some proxies had kept a switch to an irreversible release."""
        if kept is None:
            return ""
        if kept.color is not live:
            return f"; there was no way back from the release on {kept.color}: {kept.irreversible}"
        found = "" if kept.judged else "was not found good and "
        return (
            f"; its release {found}is irreversible ({kept.irreversible}): deploy a fixed one if it is bad, "
            f"or go back nevertheless: bluegreen_rollback__{self.app_id} with `i_know`"
        )
