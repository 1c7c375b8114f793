"""Who exists: HAProxy's configuration on every proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.operators.support.links import HaproxyLink
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.health_path import HEALTH_PATH_ADVICE, lost_by_health_path
from bluegreen.traffic.live import require_live, servers_of

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class RenderAndReloadOperator(PlannedOperator):
    """Render HAProxy's configuration from the fleet; install and reload where it differs from what runs."""

    operator_extra_links = (HaproxyLink(),)

    def act(self, run: ThisRun) -> list[str]:
        """Return the names of the proxies whose configuration changed.

        :raises ProxyError: if HAProxy refuses the configuration; the old one goes on running.
        :raises BlueGreenError: if live droplets do not know the health path that it would ask them for.
        """
        plan = self.run_plan
        hook = self.proxies()
        statuses = hook.statuses()
        if plan.live is not None:
            require_live(plan.live, statuses)
            self._demand_health_path(plan.live, hook, statuses)
        version = min(status.version for status in statuses.values())
        ipv6 = all(status.haproxy.ipv6 for status in statuses.values())
        running = servers_of(plan.live, statuses.values())
        config = haproxy_config(self.app, plan.fleet, version, running, ipv6=ipv6)
        changed = hook.sync(config, live=plan.live, idle=plan.idle)
        self.log.info("configuration changed on: %s", ", ".join(changed) or "none, it was up to date")
        if plan.live is not None and any(status.live is not plan.live for status in statuses.values()):
            moved = hook.align(plan.live)
            self.log.warning("sent to %s, where the others send traffic: %s", plan.live, moved or "none")
        return changed

    def _demand_health_path(
        self, live: Color, hook: ProxiesHook, statuses: Mapping[str, ProxyStatus]
    ) -> None:
        """Refuse settings with which HAProxy would take live droplets out of the traffic."""
        app, members = self.app, {droplet.name for droplet in self.run_plan.fleet.color(live)}
        found: dict[str, None] = {}
        for member in hook.members:
            for server in statuses[member.name].servers.get(live, ()):
                if server.up and server.name in members:
                    address = str(server.address)
                    answer = member.probe(address=address, port=server.port, **app.health_question)
                    if lost := lost_by_health_path(app, answer.status):
                        # Several proxies may say the same.
                        found[f"{server.name} {lost}; {HEALTH_PATH_ADVICE}"] = None
        if found:
            raise BlueGreenError("; ".join(found))
