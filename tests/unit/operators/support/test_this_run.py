"""What a run is."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.operators.support.this_run import ThisRun
from tests.unit.runs import context

pytestmark = pytest.mark.usefixtures("trusting")


def test_a_rollback_with_a_parameter_of_a_deploy_is_neither_a_dry_run_nor_an_emergency() -> None:
    run: Any = {**context({"lock": "failed"}), "params": {"dry_run": True, "emergency": True}}
    assert ThisRun(run).is_dry_run
    assert ThisRun(run).is_emergency
    run["dag"].params = {"revision": None, "live": None}
    assert not ThisRun(run).is_dry_run
    assert not ThisRun(run).is_emergency
