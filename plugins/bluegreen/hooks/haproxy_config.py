"""HAProxy's configuration for a fleet, with the secrets of Airflow connections."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from bluegreen.color import Color
from bluegreen.errors import SettingsError
from bluegreen.fleet.droplets import Fleet
from bluegreen.hooks.connection import get_connection
from bluegreen.hooks.preview_key import preview_key
from bluegreen.release.servers import connections_of
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint
from bluegreen.traffic.agent_answers import ServerState
from bluegreen.traffic.haproxy_config import ConfigValues, Server, render_haproxy


def haproxy_config(
    app: App,
    fleet: Fleet,
    haproxy_version: tuple[int, int],
    running: Iterable[ServerState] = (),
    *,
    ipv6: bool = False,
) -> str:
    """Render ``haproxy.cfg`` for a fleet, with the stats page's login from its Airflow connection.

    :param app: the settings.
    :param fleet: the droplets to render.
    :param haproxy_version: the lowest version among the proxies.
    :param running: the live color's servers as HAProxy has them. They keep their port and their limit until
        they are idle, because their release was started with those and not with today's settings.
    :param ipv6: whether all proxies support IPv6.
    :raises SettingsError: if that connection has no login or password, or no preview key is usable.
    :raises FleetError: if clients come through a managed load balancer whose network is not known.
    """
    stats = get_connection(app.connections.haproxy_stats)
    if not stats.login or not stats.password:
        raise SettingsError(f"connection {app.connections.haproxy_stats!r} needs a login and a password")
    as_it_runs = {server.name: server for server in running}

    def server(name: str, address: IPv4Address) -> Server:
        known = as_it_runs.get(name)
        port = known.port if known else app.server.port
        return Server(name, address, port, (known and known.maxconn) or connections_of(app))

    values = ConfigValues(
        app=app.id,
        servers={
            color: [
                server(droplet.name, droplet.private)
                for droplet in fleet.color(color)
                if droplet.private is not None
            ]
            for color in Color
        },
        health_path=app.health.path,
        health_statuses=app.good_statuses(app.health.path),
        public_host=app.traffic.public_host,
        https=app.traffic.https,
        preview_host=app.traffic.preview_host,
        preview_key=preview_key(app),
        preview_allow=app.traffic.preview_allow,
        trusted_proxies=app.traffic.trusted_proxies,
        ipv6=ipv6,
        certificate=app.traffic.certificate,
        balanced_from=fleet.network if app.fleet.entry_point is EntryPoint.MANAGED_LOAD_BALANCER else None,
        stats_user=stats.login,
        stats_password=stats.password,
        timeout_client=app.traffic.timeout_client,
        timeout_server=app.traffic.timeout_server,
        timeout_tunnel=app.traffic.timeout_tunnel,
        haproxy_version=haproxy_version,
    )
    return render_haproxy(values)
