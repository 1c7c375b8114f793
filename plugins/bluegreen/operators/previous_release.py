"""What a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancer import LoadBalancerHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import Plan

if TYPE_CHECKING:
    from airflow.sdk import Context


class PreviousReleaseOperator(BlueGreenOperator):
    """Find the one revision that the idle color runs, asked by every load balancer.

    :param plan: the run's :class:`Plan`; templated.
    """

    template_fields: Sequence[str] = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def act(self, context: Context) -> str:
        """Return the revision, 40 hex digits.

        :raises BlueGreenError: if there is nothing healthy to go back to; the text says which droplet is not.
        """
        plan = Plan.model_validate(self.plan)
        if plan.live is None:
            raise BlueGreenError("nothing is live, so there is nothing to roll back from")
        found: dict[str, str] = {}
        problems = []
        for load_balancer in plan.fleet.load_balancers:
            hook = LoadBalancerHook.of(load_balancer, self.app)
            for droplet in plan.idle_droplets:
                answer = hook.probe(
                    address=str(droplet.private),
                    port=self.app.server.port,
                    path=self.app.health.path,
                    timeout=5,
                )
                if answer.status == 200 and answer.revision:
                    found[droplet.name] = answer.revision
                else:
                    problems.append(
                        f"{droplet.label} is not healthy: {answer.error or f'status {answer.status}'}"
                    )
        if len(set(found.values())) > 1:
            problems.append("the idle droplets run different revisions: " + str(found))
        if problems:
            raise BlueGreenError(f"{plan.idle} cannot take the traffic: {'; '.join(problems)}")
        revision = next(iter(found.values()))
        self.log.info("%s is healthy and runs %s", plan.idle, revision)
        return revision
