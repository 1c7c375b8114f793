"""An app's worker and timer, from their first deploy to their last; all else is in tests/sandbox/state."""

from __future__ import annotations

import time

import pytest

from sandbox.traffic_records import read, summarize
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.stack import Judge, Stack
from tests.sandbox.ticks import NAMES, colors, sections, ticks, units
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def test_a_worker_and_a_timer_run_on_the_live_color_only_and_end_with_their_section(
    stack: Stack, judge: Judge
) -> None:
    began = time.time()

    def shown() -> object:
        return stack.client.task_ids(DEPLOY)

    with settings(stack, sections(), shown):
        ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        live, idle = stack.live(), stack.idle()
        assert f"beat and worker started on {live}" in ended.report["message"]
        until(lambda: all(ticks(stack, name, began) for name in NAMES), "both are at work")
        assert [colors(ticks(stack, name, began)) for name in NAMES] == [[live], [live]]
        with settings(stack, {"processes": {}, "timers": {}}):
            stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert stack.live() == idle
        for color in (live, idle):
            states = units(stack, color).values()
            assert all("active" not in state.replace("inactive", "") for state in states)
        assert {one.color for one in ticks(stack, "worker", began)} == {live}
    seen = summarize(read(judge.records), began, time.time())
    assert seen.requests > 0
    assert seen.failed == 0
