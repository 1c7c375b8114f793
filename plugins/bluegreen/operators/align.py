"""Making load balancers agree again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import NothingToDoError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.outcome import Outcome
from bluegreen.plan import HeldLock, Plan

if TYPE_CHECKING:
    from airflow.sdk import Context


class AlignOperator(BlueGreenOperator):
    """Where load balancers disagree about who is live, let all send traffic to the plan's live color.

    :param lock: the run's :class:`HeldLock`; templated.
    :param plan: the run's :class:`Plan`; templated.
    """

    template_fields: Sequence[str] = ("lock", "plan")

    def __init__(self, *, lock: Any, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lock = lock
        self.plan = plan

    def act(self, context: Context) -> None:
        """Return at once if they agree.

        :raises NothingToDoError: if they did not, and now do: that was what there was to do.
        :raises LoadBalancerError: if one cannot follow, because it sees no healthy server there.
        """
        plan = Plan.model_validate(self.plan)
        hook = LoadBalancersHook.holding(self.app, HeldLock.model_validate(self.lock))
        if plan.live is None or all(status.live is plan.live for status in hook.statuses().values()):
            return
        moved = hook.align(plan.live, self.app.health.path)
        raise NothingToDoError(
            f"the load balancers disagreed, and all send traffic to {plan.live} again (moved: "
            f"{', '.join(moved)})",
            Outcome.ALIGNED,
        )
