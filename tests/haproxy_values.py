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
        "certificate": settings.certificate,
        "balanced_from": None,
        "ipv6": True,
        "stats_user": "admin",
        "stats_password": "Pa55-word",
        "timeout_client": settings.timeout_client,
        "timeout_server": settings.timeout_server,
        "timeout_tunnel": settings.timeout_tunnel,
        "haproxy_version": (2, 6),
    }
    return render_haproxy(ConfigValues(servers=servers, **{**values, **changes}))
