"""Would HAProxy's configuration have to change?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.operators.haproxy import render
from bluegreen.plan import Plan

if TYPE_CHECKING:
    from airflow.sdk import Context


class ConfigCheckOperator(BlueGreenOperator):
    """Compare the configuration that a deploy would install with the one that runs; changes nothing.

    :param plan: the run's :class:`Plan`; templated.
    """

    template_fields: Sequence[str] = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def act(self, context: Context) -> list[str]:
        """Return the names of the load balancers that a deploy would reload."""
        plan = Plan.model_validate(self.plan)
        statuses = LoadBalancersHook(self.app, plan.fleet.load_balancers).statuses()
        version = min(status.version for status in statuses.values())
        rendered = hashlib.sha256(render(self.app, plan.fleet, version).encode()).hexdigest()
        differing = [name for name, status in statuses.items() if status.haproxy.config_sha256 != rendered]
        self.log.info("a deploy would reload HAProxy on: %s", ", ".join(differing) or "none")
        return differing
