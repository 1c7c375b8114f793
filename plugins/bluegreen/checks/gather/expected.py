"""The files that would be on the machines if only this project had written there."""

from __future__ import annotations

from agent.droplet.activated import Pairing
from agent.droplet.process_units import units_digest
from agent.paths import DROP_IN, UNITS
from agent.proxy.boot_unit import ENABLED, unit_text
from bluegreen.agent_bundle import agent_bundle
from bluegreen.checks.facts import AppServer, Facts, version_of
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.served_certificates import served_certificates
from bluegreen.release.release import service_unit
from bluegreen.settings.app import App
from bluegreen.traffic.live import servers_of

CONFIG_PATH = "/etc/haproxy/haproxy.cfg"
MAP_PATH = "/etc/haproxy/traffic.map"
# It keeps root's rights from HAProxy.
DROP_IN_PATH = f"/{UNITS}/{DROP_IN}"
# The link by which the boot unit is enabled: who can read the unit here knows both.
BOOT_UNIT_PATH = f"/{UNITS}/{ENABLED}"


def unit_path(app: App) -> str:
    """Return the path of the app's systemd unit."""
    return f"/{UNITS}/{app.system_name}.service"


def environment_path(app: App) -> str:
    """Return the path of the app's environment file, which people write."""
    return f"/etc/default/{app.system_name}"


def watched_files(app: App, *, proxy: bool) -> tuple[str, ...]:
    """Return the paths of the files whose text is compared."""
    if proxy:
        return CONFIG_PATH, MAP_PATH, BOOT_UNIT_PATH
    return (unit_path(app),)


def expected_unit(app: App, droplet: Droplet, release: str, configuration: str) -> str:
    """Return a droplet's unit of the app, as a deploy of a release and a configuration would write it."""
    return service_unit(app, release, configuration, str(droplet.private))


def has_units_of(app: App, server: AppServer, wanted: Pairing) -> bool:
    """Whether a droplet's unit files, those of processes and timers included, are those of a pairing."""
    is_same = server.process_units == units_digest(wanted.units)
    return is_same and server.files.get(unit_path(app)) == wanted.unit_text


def expected_config(facts: Facts) -> str | None:
    """Return ``haproxy.cfg`` as a deploy would install it; ``None`` if no proxy has HAProxy.

    :raises BlueGreenError: if the settings, or what they name, make none.
    """
    statuses = facts.readable.values()
    versions = [version for one in statuses if (version := version_of(one))]
    if not versions:
        return None
    fleet, running = facts.joining.for_deploy(facts.fleet), servers_of(facts.live, statuses)
    ipv6 = all(one.haproxy.ipv6 for one in statuses)
    served = served_certificates(facts.app, statuses)
    return haproxy_config(facts.app, fleet, min(versions), running, ipv6=ipv6, served=served)


def expected_boot_unit() -> str:
    """Return the unit by which this project's version of the agent runs at boot."""
    return unit_text(agent_bundle().path).decode()
