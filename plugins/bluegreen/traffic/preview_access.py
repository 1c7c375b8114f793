"""Instructions for people who may look at the idle color."""

from __future__ import annotations

from collections.abc import Sequence

from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.app import App
from bluegreen.traffic.preview_key import PREVIEW_KEY_HEADER


def ways_to_look(app: App, proxies: Sequence[Droplet]) -> list[str]:
    """Return a command for each way, with a comment; the key itself is in none of them."""
    host = f"-H 'Host: {app.traffic.preview_host}'"
    urls = [f"http://{droplet.public}/" for droplet in proxies]
    ways = ["# on a proxy:"]
    ways += [f'ssh root@{droplet.public} "curl {host} http://127.0.0.1/"' for droplet in proxies]
    if app.connections.preview:
        ways += [f"# from anywhere, with the password of the connection {app.connections.preview}:"]
        ways += [f"curl {host} -H '{PREVIEW_KEY_HEADER}: …' {url}" for url in urls]
    if app.traffic.preview_allow:
        ways += ["# from an address in traffic.preview_allow:", *(f"curl {host} {url}" for url in urls)]
    return ways
