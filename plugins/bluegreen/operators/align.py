"""Making proxies agree again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.errors import NothingToDoError
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.live import require_live

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class AlignOperator(PlannedOperator):
    """Where proxies disagree about who is live, let all send traffic to the plan's live color."""

    def act(self, run: ThisRun) -> None:
        """Return at once if they agree.

        :raises NothingToDoError: if they did not, and now do: that was what there was to do.
        :raises ProxyError: if one cannot follow, because it sees no healthy server there.
        """
        plan = self.run_plan
        hook = self.proxies()
        statuses = hook.statuses()
        if plan.live is None or all(status.live is plan.live for status in statuses.values()):
            return
        require_live(plan.live, statuses)
        moved = hook.align(plan.live)
        raise NothingToDoError(
            f"the proxies disagreed, and all send traffic to {plan.live} again (moved: {', '.join(moved)})",
            Outcome.ALIGNED,
        )
