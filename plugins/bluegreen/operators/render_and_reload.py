"""Who exists: HAProxy's configuration on every proxy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import on_all
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
            self._require_health_path(plan.live, hook, statuses)
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

    def _require_health_path(
        self, live: Color, hook: ProxiesHook, statuses: Mapping[str, ProxyStatus]
    ) -> None:
        """Refuse settings with which HAProxy would take live droplets out of the traffic."""
        members = {droplet.name for droplet in self.run_plan.fleet.color(live)}

        def lost(proxy: ProxyHook) -> list[str]:
            known = statuses[proxy.name].servers.get(live, ())
            servers = [server for server in known if server.up and server.name in members]
            if not servers:
                return []
            asked = [(str(server.address), server.port) for server in servers]
            answers = proxy.probe_all(asked, **self.app.health_question)
            return [
                f"{server.name} {lost}; {HEALTH_PATH_ADVICE}"
                for server, answer in zip(servers, answers, strict=True)
                if (lost := lost_by_health_path(self.app, answer.status))
            ]

        # Several proxies may say the same.
        if found := dict.fromkeys(chain.from_iterable(on_all(hook.members, lost).values())):
            raise BlueGreenError("; ".join(found))
