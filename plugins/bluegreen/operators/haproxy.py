"""Who exists: HAProxy's configuration on every load balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.dag.links import HaproxyLink
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.operators.locked import PlannedOperator
from bluegreen.traffic import servers_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class RenderAndReloadOperator(PlannedOperator):
    """Render HAProxy's configuration from the fleet; install and reload where it differs from what runs."""

    operator_extra_links = (HaproxyLink(),)

    def act(self, context: Context) -> list[str]:
        """Return the names of the load balancers whose configuration changed.

        :raises LoadBalancerError: if HAProxy refuses the configuration; the old one goes on running.
        """
        plan = self.run_plan
        hook = self.load_balancers()
        statuses = hook.statuses()
        version = min(status.version for status in statuses.values())
        config = haproxy_config(self.app, plan.fleet, version, servers_of(plan.live, statuses.values()))
        changed = hook.sync(config, live=plan.live, idle=plan.idle)
        self.log.info("configuration changed on: %s", ", ".join(changed) or "none, it was up to date")
        if plan.live is not None and any(status.live is not plan.live for status in statuses.values()):
            moved = hook.align(plan.live, self.app.health.path)
            self.log.warning("sent to %s, where the others send traffic: %s", plan.live, moved or "none")
        return changed
