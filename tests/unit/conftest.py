"""Fixtures of the unit tests."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.unit.local_haproxy import AGENT, Deployed, LocalHaproxy, local_haproxy


@pytest.fixture(autouse=True)
def _sealing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks seal what they tell each other by a key that needs no connection."""
    monkeypatch.setattr("bluegreen.operators.support.seals.sealing_key", lambda _app: b"a key")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks believe the revision and the plan that a test gives them, and ask for no approval."""
    for operator in (
        "confirm",
        "deploy",
        "lifecycle_commands",
        "previous_release",
        "resolve_ref",
        "switch_traffic",
    ):
        for check in ("vouch_for", "demand_vouched", "demand_approval", "demand_plan", "demand_done"):
            monkeypatch.setattr(f"bluegreen.operators.{operator}.{check}", lambda *_: None, raising=False)


@pytest.fixture
def proxy() -> Iterator[LocalHaproxy]:
    """Return a proxy on which HAProxy is installed and does not run."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    with local_haproxy() as world:
        yield world


@pytest.fixture(scope="session")
def agent() -> ModuleType:
    """Return the proxy agent as a module."""
    spec = importlib.util.spec_from_file_location("lb_agent", AGENT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["lb_agent"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def deployed(proxy: LocalHaproxy) -> Deployed:
    """Return a proxy with blue live and confirmed."""
    return Deployed(proxy)
