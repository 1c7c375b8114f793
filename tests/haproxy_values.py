"""What HAProxy's configuration is rendered from in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bluegreen.color import Color
from bluegreen.settings.traffic import TrafficSettings
from bluegreen.traffic.haproxy_config import ConfigValues, Server, render_haproxy


def rendered(servers: Mapping[Color, Sequence[Server]], **changes: Any) -> str:
    """Render the configuration of a fleet, with the defaults of the settings and some changes."""
    settings = TrafficSettings(preview_host="green.example.com")
    values: dict[str, Any] = {
        "app": "my_perl_app",
        "health_path": "/health",
        "health_statuses": (),
        "public_host": None,
        "https": False,
        "preview_host": settings.preview_host,
        "preview_key": "0123456789abcdef",
        "preview_allow": settings.preview_allow,
        "trusted_proxies": settings.trusted_proxies,
        "certificates": (),
        "acme_thumbprint": None,
        "redirect": False,
        "hsts": 0,
        "balanced_from": None,
        "ipv6": True,
        "affinity": False,
        # A timeout is a change by its setting, such as `timeout_server=51`.
        "timeouts": {
            name: changes.pop(f"timeout_{name}", seconds) for name, seconds in settings.timeouts.items()
        },
        "haproxy_version": (2, 6),
    }
    return render_haproxy(ConfigValues(servers=servers, **{**values, **changes}))
