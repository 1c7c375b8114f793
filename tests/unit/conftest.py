"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.unit.local_haproxy import Deployed, LocalHaproxy, local_haproxy


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


@pytest.fixture
def deployed(proxy: LocalHaproxy) -> Deployed:
    """Return a proxy with blue live and confirmed."""
    return Deployed(proxy)
