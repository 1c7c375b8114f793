"""Fixtures of the tests of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pytest

from bluegreen.hooks.proxy import ProxyHook
from bluegreen.operators import previous_release
from tests.unit.fleets import DIGEST, V1, V2, released
from tests.unit.operators.previous_releases import Records
from tests.unit.repositories import app_of


@pytest.fixture
def both_were_live(monkeypatch: pytest.MonkeyPatch, ledger: Any) -> None:
    """Let tests of something else go back to either release."""
    ledger([("live and confirmed", V1), ("live and confirmed", V2)])


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Callable[[Records], Any]:
    def ledger(records: Records, **policy: Any) -> Any:
        """Let the proxies have these outcomes and revisions on record."""
        app = app_of("https://example.com/shop.git", **policy)
        monkeypatch.setattr(previous_release.PreviousReleaseOperator, "app", app)
        lines = [
            {
                **{"dag_id": "deploy", "run_id": str(number), "trigger": "manual", "triggered_by": "bob"},
                **{"subject": "deploy", "started": None, "outcome": outcome, "revision": revision},
                **{"release": released(revision), "configuration": DIGEST},
            }
            for number, (outcome, revision) in enumerate(records)
        ]
        hook = create_autospec(ProxyHook, instance=True)
        hook.ledger.return_value = lines
        monkeypatch.setattr(ProxyHook, "of", lambda *_: hook)
        return hook

    return ledger
