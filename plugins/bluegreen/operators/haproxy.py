"""Who exists: HAProxy's configuration on every load balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.app import App, EntryPoint
from bluegreen.color import Color
from bluegreen.errors import SettingsError
from bluegreen.fleet import Fleet
from bluegreen.haproxy_config import Server, render_haproxy
from bluegreen.hooks.connection import get_connection
from bluegreen.links import HaproxyLink
from bluegreen.operators.locked import PlannedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


def render(app: App, fleet: Fleet, haproxy_version: tuple[int, int]) -> str:
    """Render ``haproxy.cfg`` for a fleet, with the stats page's login from its Airflow connection.

    :param app: the settings.
    :param fleet: who exists.
    :param haproxy_version: the lowest of the load balancers.
    :raises SettingsError: if that connection has no login or no password.
    :raises FleetError: if clients come through a managed load balancer, and its network is not known.
    """
    stats = get_connection(app.connections.haproxy_stats)
    if not stats.login or not stats.password:
        raise SettingsError(f"connection {app.connections.haproxy_stats!r} needs a login and a password")
    return render_haproxy(
        app=app.id,
        servers={
            color: [
                Server(name=droplet.name, address=droplet.private, port=app.server.port)
                for droplet in fleet.color(color)
                if droplet.private is not None
            ]
            for color in Color
        },
        health_path=app.health.path,
        preview_host=app.traffic.preview_host,
        certificate=app.traffic.certificate,
        balanced_from=fleet.network if app.fleet.entry_point is EntryPoint.MANAGED_LOAD_BALANCER else None,
        stats_user=stats.login,
        stats_password=stats.password,
        maxconn_per_server=app.server.workers,
        timeout_client=app.traffic.timeout_client,
        timeout_server=app.traffic.timeout_server,
        timeout_tunnel=app.traffic.timeout_tunnel,
        haproxy_version=haproxy_version,
    )


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
        changed = hook.sync(render(self.app, plan.fleet, version), live=plan.live, idle=plan.idle)
        self.log.info("configuration changed on: %s", ", ".join(changed) or "none, it was up to date")
        if plan.live is not None and any(status.live is not plan.live for status in statuses.values()):
            moved = hook.align(plan.live, self.app.health.path)
            self.log.warning("sent to %s, where the others send traffic: %s", plan.live, moved or "none")
        return changed
