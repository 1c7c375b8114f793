"""A deploy that waits for an approval, answered through Airflow's REST API."""

from __future__ import annotations

import pytest

from demo.errors import ApiError
from tests.sandbox.approvals import ask, end_of, note_of
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def test_an_approved_deploy_goes_live_and_is_only_approved_once(stack: Stack) -> None:
    before, ref, live = stack.live(), stack.other_ref(), stack.live_ref()
    run, shown = ask(stack, ref, require_approval=True)
    assert stack.live() == before
    assert f"({stack.revisions[str(live)][:12]})" in shown
    assert f"({stack.revisions[ref][:12]})" in shown
    newer = max(ref, str(live))
    sign = "+" if newer == ref else "-"
    assert f"{sign} {stack.revisions[newer][:7]} " in shown, "the commits in between"
    assert "\n    a *better* answer" in shown
    lock = stack.proxy().run(["cat", "/var/lib/bluegreen/lock.json"]).stdout
    assert '"lease": 3720' in lock, lock
    assert note_of(stack, run) == f"deploy of {ref}"

    stack.approver.answer(run, "approval", "Approve")
    with pytest.raises(ApiError, match=r"409|already"):
        stack.client.answer(run, "approval", "Reject")
    ended = end_of(stack, run).expect("live and confirmed")
    assert "; approved by approver" in ended.report["message"]
    assert ended.report["record"]["approved_by"] == "approver"
    assert stack.live() != before
    assert stack.live_ref() == ref
    assert note_of(stack, run) == stack.client.last_line(run)
