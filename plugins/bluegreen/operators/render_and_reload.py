"""Who exists: HAProxy's configuration on every proxy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.served_certificates import served_certificates
from bluegreen.hooks.two_phase import combined, on_all
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.health_path import HEALTH_PATH_ADVICE, lost_by_health_path
from bluegreen.traffic.live import require_live, servers_of

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Fleet
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.settings.app import App

_log = logging.getLogger(__name__)


class RenderAndReloadOperator(PlannedOperator):
    """Render HAProxy's configuration from the fleet; install and reload where it differs from what runs."""

    def act(self, run: ThisRun) -> list[str]:
        """Return the names of the proxies whose configuration changed.

        :raises ProxyError: if HAProxy refuses the configuration; the old one goes on running.
        :raises BlueGreenError: if live droplets do not know the health path that it would ask them for.
        """
        plan = self.run_plan
        if plan.rendered:
            self.log.info("every proxy runs what would be installed, as provision_check has found")
            return []
        changed = render(self.app, self.proxies(), plan.fleet, live=plan.live, idle=plan.idle)
        self.log.info("configuration changed on: %s", ", ".join(changed) or "none, it was up to date")
        return changed


def render(app: App, hook: ProxiesHook, fleet: Fleet, *, live: Color | None, idle: Color) -> list[str]:
    """Render HAProxy's configuration, and let every locked proxy run it.

    The certificates that it names are delivered before.

    :param fleet: the droplets to render.
    :return: the names of the proxies whose configuration changed.
    :raises ProxyError: if HAProxy refuses the configuration; the old one goes on running.
    :raises BlueGreenError: if live droplets do not know the health path that it would ask them for.
    """
    statuses = hook.statuses()
    if live is not None:
        require_live(live, statuses)
        _require_health_path(app, fleet, live, hook, statuses)
    version = min(status.version for status in statuses.values())
    ipv6 = all(status.haproxy.ipv6 for status in statuses.values())
    running = servers_of(live, statuses.values())
    served = served_certificates(app, statuses.values())
    config = haproxy_config(app, fleet, version, running, ipv6=ipv6, served=served)
    if served and served.to_send:
        delivered = hook.deliver_certificates(served.to_send, handshakes=False).values()
        if errors := [one for one in delivered if isinstance(one, BlueGreenError)]:
            raise combined(errors)
    changed = hook.sync(config, live=live, idle=idle)
    if live is not None and any(status.live is not live for status in statuses.values()):
        moved = hook.align(live)
        _log.warning("sent to %s, where the others send traffic: %s", live, moved or "none")
    return changed


def _require_health_path(
    app: App, fleet: Fleet, live: Color, hook: ProxiesHook, statuses: Mapping[str, ProxyStatus]
) -> None:
    """Refuse settings with which HAProxy would take live droplets out of the traffic."""
    members = {droplet.name for droplet in fleet.color(live)}

    def lost(proxy: ProxyHook) -> list[str]:
        known = statuses[proxy.name].servers.get(live, ())
        servers = [server for server in known if server.up and server.name in members]
        if not servers:
            return []
        asked = [(str(server.address), server.port) for server in servers]
        answers = proxy.probe_all(asked, **app.health_question)
        return [
            f"{server.name} {lost}; {HEALTH_PATH_ADVICE}"
            for server, answer in zip(servers, answers, strict=True)
            if (lost := lost_by_health_path(app, answer.status))
        ]

    # Several proxies may say the same.
    if found := dict.fromkeys(chain.from_iterable(on_all(hook.members, lost).values())):
        raise BlueGreenError("; ".join(found))
