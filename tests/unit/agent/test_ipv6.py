"""Whether HAProxy can listen on IPv6, as the agent finds out."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agent.proxy.haproxy import knows_ipv6
from tests.unit.local_haproxy import Deployed


def test_a_kernel_that_was_started_without_ipv6_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    with_ipv6 = socket.socket

    def without_ipv6(family: int = -1, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return with_ipv6(family, *rest)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert not knows_ipv6()


def test_the_status_says_whether_the_kernel_knows_ipv6(deployed: Deployed) -> None:
    assert deployed.status()["haproxy"]["ipv6"] is knows_ipv6()
