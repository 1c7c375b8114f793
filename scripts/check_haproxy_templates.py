#!/usr/bin/env python3
"""Render HAProxy's configuration for a few fleets and let ``haproxy -c`` judge; a no-op without HAProxy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from bluegreen.color import Color
from bluegreen.settings.traffic import TrafficSettings
from bluegreen.traffic.haproxy_config import ConfigValues, Server, render_haproxy

SETTINGS = TrafficSettings(preview_host="green.example.com")

# The longest that can be written.
NETWORKS = [IPv6Network(f"2001:db8:{number + 4096:x}:ffff:ffff:ffff:ffff:fff0/124") for number in range(200)]

VARIANTS: dict[str, dict[str, Any]] = {
    "one server a color": {"droplets": 1},
    "no IPv6": {"droplets": 1, "ipv6": False},
    "many networks": {"droplets": 1, "trusted_proxies": NETWORKS, "preview_allow": NETWORKS},
    "a hundred servers a color": {"droplets": 100},
    "a managed load balancer": {"droplets": 2, "balanced_from": IPv4Network("10.2.0.0/20")},
    "long timeouts": {"droplets": 2, "timeouts": {"client": 3600, "server": 3600, "tunnel": 86400}},
    "clients who come by https": {"droplets": 2, "public_host": "www.example.com:8443", "https": True},
    "an app that redirects": {"droplets": 2, "health_statuses": (302, 401)},
    "clients who stay on a droplet": {"droplets": 100, "affinity": True, "https": True},
    "a HAProxy without idle-close-on-response": {"droplets": 2, "haproxy_version": (2, 4), "affinity": True},
}


def render(droplets: int, **changes: Any) -> str:
    """Render the configuration of a fleet with so many droplets in each color."""
    values: dict[str, Any] = {
        "app": "my_perl_app",
        "servers": {
            color: [
                Server(f"my-perl-app-{color}-{number}", IPv4Address(f"10.{network}.0.{number}"), 8080, 8)
                for number in range(1, droplets + 1)
            ]
            for network, color in enumerate(Color)
        },
        "health_path": "/health",
        "health_statuses": (),
        "public_host": None,
        "https": False,
        "preview_host": SETTINGS.preview_host,
        "preview_key": "0123456789abcdef",
        "preview_allow": SETTINGS.preview_allow,
        "trusted_proxies": SETTINGS.trusted_proxies,
        "certificates": (),
        "acme_thumbprint": None,
        "redirect": False,
        "hsts": 0,
        "balanced_from": None,
        "ipv6": True,
        "affinity": False,
        "timeouts": SETTINGS.timeouts,
        "haproxy_version": (2, 6),
    }
    return render_haproxy(ConfigValues(**{**values, **changes}))


def check(config: str) -> str:
    """What ``haproxy -c`` has against a configuration; empty if nothing."""
    with tempfile.TemporaryDirectory() as directory:
        traffic_map, file = Path(directory, "traffic.map"), Path(directory, "haproxy.cfg")
        traffic_map.write_text("live none\nidle blue\nidle_share 0\n")
        file.write_text(config.replace("/etc/haproxy/traffic.map", str(traffic_map)))
        done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    # A warning today is an error in a later HAProxy.
    return done.stderr.strip() if done.returncode or "[WARNING]" in done.stderr else ""


def main() -> int:
    if shutil.which("haproxy") is None:
        print("haproxy is not installed; its configuration was not checked")
        return 0
    objections = {name: check(render(**variant)) for name, variant in VARIANTS.items()}
    for name, objection in objections.items():
        print(f"haproxy.cfg.j2, {name}: {objection or 'valid'}")
    return 1 if any(objections.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
