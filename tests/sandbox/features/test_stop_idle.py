"""The old color's end: some time after a switch was confirmed, by Airflow, and back again by a rollback."""

from __future__ import annotations

import re
import time

import pytest

from demo.client import Run
from demo.environment import APP
from sandbox.traffic_records import read, summarize
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.stack import SYSTEM_NAME, Judge, Stack, fingerprint
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

STOP = f"bluegreen_stop_idle__{APP}"


def units(stack: Stack, color: str) -> set[str]:
    """How the app's service is on a color's droplets, now and at boot."""
    ask = f"systemctl is-active {SYSTEM_NAME}; systemctl is-enabled {SYSTEM_NAME}"
    return {" ".join(one.run(ask, check=False).stdout.split()) for one in stack.machines(color)}


def runs(stack: Stack) -> list[Run]:
    found = stack.client.get(f"dags/{STOP}/dagRuns")["dag_runs"]
    return [Run(STOP, one["dag_run_id"], time.time()) for one in found]


def test_the_old_color_is_stopped_after_a_while_and_a_rollback_starts_it_again(
    stack: Stack, judge: Judge
) -> None:
    began, old, old_ref = time.time(), stack.live(), stack.live_ref()
    soon = {"server": {"stop_idle_after": 10}, "timeouts": {"drain": 10}}
    with settings(stack, soon, lambda: stack.client.task_ids(DEPLOY)):
        until(lambda: STOP in stack.client.dag_ids(), "Airflow knows the DAG", seconds=120)
        ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert re.search(rf"; {old} stops at .* UTC \(server\.stop_idle_after\)", ended.report["message"])
        new = stack.live()
        before = fingerprint(stack, new)
        [stop] = runs(stack)
        assert stack.client.wait(stop) == "success", stack.client.last_line(stop)
        assert f"{old} is stopped" in stack.client.last_line(stop)
        assert units(stack, old) == {"inactive disabled"}
        assert fingerprint(stack, new) == before

        stack.run("rollback").expect("live and confirmed")
        assert (stack.live(), stack.live_ref()) == (old, old_ref)
        assert units(stack, old) == {"active enabled"}
        # Other tests want both colors warm.
        for later in runs(stack):
            stack.client.delete(later)
    seen = summarize(read(judge.records), began, time.time())
    assert seen.requests > 0
    assert seen.failed == 0
