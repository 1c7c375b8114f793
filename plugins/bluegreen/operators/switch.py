"""The moment traffic moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.dag.links import CommitLink, HaproxyLink
from bluegreen.operators.locked import PlannedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SwitchTrafficOperator(PlannedOperator):
    """Move traffic to a color on every load balancer, until confirmed.

    :param revision: what the color must run; templated.
    """

    template_fields: Sequence[str] = (*PlannedOperator.template_fields, "revision")
    operator_extra_links = (HaproxyLink(), CommitLink())

    def __init__(self, *, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.revision = revision

    def act(self, context: Context) -> dict[str, Any]:
        """Return each load balancer's :class:`SwitchResult` by droplet name.

        :raises LoadBalancerError: if one refuses; then traffic is where it was.
        """
        plan = self.run_plan
        hook = self.load_balancers()
        results = hook.switch(
            to=plan.idle,
            revision=self.revision,
            confirm_within=self.validation(context).seconds_to_confirm,
            min_servers=len(plan.idle_droplets),
            health={"path": self.app.health.path, "port": self.app.server.port},
        )
        for name, result in results.items():
            self.log.info("%s: traffic moved to %s in %.0f ms", name, result.to, result.milliseconds)
        return {name: result.model_dump(mode="json", by_alias=True) for name, result in results.items()}
