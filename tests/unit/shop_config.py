"""HAProxy's configuration of a small fleet."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from bluegreen.color import Color
from bluegreen.traffic.haproxy_config import Server
from tests.haproxy_values import rendered

BLUE = Server("my-perl-app-blue-1", IPv4Address("10.0.0.1"), 8080, 8)


GREEN = Server("my-perl-app-green-1", IPv4Address("10.0.0.3"), 8080, 8)


SECOND = Server("my-perl-app-blue-2", IPv4Address("10.0.0.2"), 8080, 8)


def render(**changes: Any) -> str:
    return rendered(**{"servers": {Color.BLUE: [BLUE, SECOND], Color.GREEN: [GREEN]}, **changes})
