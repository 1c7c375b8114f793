"""What would be on the machines if nobody but this project had written there."""

from __future__ import annotations

from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.proxy import AGENT_PATH, AGENT_SOURCE, BOOT_UNIT_ENABLED, BOOT_UNIT_SOURCE
from bluegreen.release.release import Release, service_unit, start_text
from bluegreen.settings.app import App

CONFIG_PATH = "/etc/haproxy/haproxy.cfg"
MAP_PATH = "/etc/haproxy/traffic.map"

# No release is needed to render what is the same for all.
_ANY_REVISION = "0" * 40


def unit_path(app: App) -> str:
    """Where the app's systemd unit is."""
    return f"/etc/systemd/system/{app.system_name}.service"


def environment_path(app: App) -> str:
    """Where the app's environment is, which people write."""
    return f"/etc/default/{app.system_name}"


def watched_files(app: App, *, proxy: bool) -> tuple[str, ...]:
    """Return the files that are read whole from a droplet."""
    if proxy:
        return CONFIG_PATH, MAP_PATH, AGENT_PATH, BOOT_UNIT_ENABLED
    return (unit_path(app),)


def expected_unit(app: App) -> str:
    """Return the app's systemd unit as the next deploy would write it."""
    return service_unit(Release.of(app, _ANY_REVISION, "127.0.0.1"))


def expected_start(app: App, droplet: Droplet) -> str:
    """Return a droplet's start script as the next deploy would write it."""
    return start_text(Release.of(app, _ANY_REVISION, str(droplet.private)))


def agent_files() -> dict[str, str]:
    """Return what runs on a proxy besides HAProxy, by path."""
    sources = {AGENT_PATH: AGENT_SOURCE, BOOT_UNIT_ENABLED: BOOT_UNIT_SOURCE}
    return {path: source.read_text(encoding="utf-8") for path, source in sources.items()}
