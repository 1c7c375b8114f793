"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest

from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import preview_check, report, switch_traffic
from bluegreen.operators.support.seals import LockSeals, Seals
from bluegreen.traffic.agent_answers import StartedRelease
from tests.started import started
from tests.unit.local_haproxy import Deployed, LocalHaproxy, local_haproxy


@pytest.fixture(autouse=True)
def _sealing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks seal what they tell each other by a key that needs no connection."""
    for module in ("operators.support.seals", "hooks.artifact_store", "hooks.configuration"):
        monkeypatch.setattr(f"bluegreen.{module}.sealing_key", lambda _app: b"a key")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks believe the revision and the plan that a test gives them, and ask for no approval."""
    monkeypatch.setattr(Seals, "seal_revision", lambda *_: None)
    for name in ("revision", "plan", "done", "result", "approval"):
        monkeypatch.setattr(LockSeals, f"require_{name}", lambda *_, **__: None)
    for module in (preview_check, switch_traffic):
        known = StartedRelease.model_validate(started("a" * 40, "green-1"))
        monkeypatch.setattr(module, "require_started", lambda *_, known=known: known)


@pytest.fixture
def proxy() -> Iterator[LocalHaproxy]:
    """Return a proxy on which HAProxy is installed and does not run."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    with local_haproxy() as world:
        yield world


@pytest.fixture
def deployed(proxy: LocalHaproxy) -> Deployed:
    """Return a proxy with blue live and confirmed."""
    return Deployed(proxy)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the proxies that a run has locked; what they answer is the test's to say."""
    hook = create_autospec(ProxiesHook, instance=True)
    hook.record.return_value = {}
    monkeypatch.setattr(ProxiesHook, "holding", lambda *_: hook)
    monkeypatch.setattr(report, "ProxiesHook", MagicMock(holding=lambda *_: hook))
    return hook
