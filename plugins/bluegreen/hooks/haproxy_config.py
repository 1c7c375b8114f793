"""HAProxy's configuration for a fleet, with the secrets of Airflow connections."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from bluegreen.color import Color
from bluegreen.fleet.droplets import Fleet
from bluegreen.hooks.preview_key import preview_key
from bluegreen.hooks.served_certificates import ServedCertificates
from bluegreen.release.servers import connections_of
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint
from bluegreen.settings.traffic import Affinity
from bluegreen.traffic.agent_answers import ServerState
from bluegreen.traffic.haproxy_config import ConfigValues, Server, render_haproxy


def haproxy_config(
    app: App,
    fleet: Fleet,
    haproxy_version: tuple[int, int],
    running: Iterable[ServerState] = (),
    *,
    ipv6: bool = False,
    served: ServedCertificates | None = None,
) -> str:
    """Render ``haproxy.cfg`` for a fleet, with the preview key of the app's Airflow connections.

    :param app: the settings.
    :param fleet: the droplets to render.
    :param haproxy_version: the lowest version among the proxies.
    :param running: the live color's servers as HAProxy has them. They keep their port and their limit until
        they are idle, because their release was started with those and not with today's settings.
    :param ipv6: whether all proxies support IPv6.
    :param served: the certificates of an app with ``traffic.tls``; without them, HAProxy speaks http only.
    :raises SettingsError: if no preview key is usable.
    :raises FleetError: if clients come through a managed load balancer whose network is not known.
    """
    tls = app.traffic.tls if served else None
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
        certificates=served.paths if served else (),
        acme_thumbprint=served.thumbprint if served else None,
        redirect=tls.redirect if tls else False,
        hsts=tls.hsts if tls else 0,
        balanced_from=fleet.network if app.fleet.entry_point is EntryPoint.MANAGED_LOAD_BALANCER else None,
        affinity=app.traffic.affinity is Affinity.COOKIE,
        timeouts=app.traffic.timeouts,
        haproxy_version=haproxy_version,
    )
    return render_haproxy(values)
