"""How a person looks at the idle color, which HAProxy shows to nobody else."""

from __future__ import annotations

from collections.abc import Sequence

from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.app import App
from bluegreen.traffic.preview_key import PREVIEW_KEY_HEADER


def ways_to_look(app: App, proxies: Sequence[Droplet]) -> list[str]:
    """Return commands, with a comment before each way; the key itself is in none of them."""
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
