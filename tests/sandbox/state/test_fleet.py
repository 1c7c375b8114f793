"""The app of this folder needs its database for every answer, before and after a switch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox.judged import judged
from tests.sandbox.stack import Stack
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import PATHS

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


def test_no_visit_is_lost_across_a_switch_and_a_rollback(
    stack: Stack, services: Services, tmp_path: Path
) -> None:
    with judged(stack.environment.proxy_url(), tmp_path, PATHS) as found:
        before = int(services.query("SELECT count(*) FROM visits"))
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        stack.run("rollback").expect("live and confirmed")
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples
    assert len(seen.revisions) == 2
    assert int(services.query("SELECT count(*) FROM visits")) > before
