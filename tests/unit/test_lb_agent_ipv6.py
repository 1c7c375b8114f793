"""Whether HAProxy can listen on IPv6, as the agent finds out."""

from __future__ import annotations

import importlib.util
import socket
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.unit.local_haproxy import AGENT, Deployed


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the agent's program as a module."""
    spec = importlib.util.spec_from_file_location("lb_agent", AGENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lb_agent", module)
    spec.loader.exec_module(module)
    return module


def test_a_kernel_that_was_started_without_ipv6_is_recognized(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ipv6 = socket.socket

    def without_ipv6(family: int = -1, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return with_ipv6(family, *rest)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert not agent.knows_ipv6()


def test_the_status_says_whether_the_kernel_knows_ipv6(deployed: Deployed, agent: ModuleType) -> None:
    assert deployed.status()["haproxy"]["ipv6"] is agent.knows_ipv6()
