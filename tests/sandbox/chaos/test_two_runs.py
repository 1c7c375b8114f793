"""Two people at once; a part of it is in every test run."""

from __future__ import annotations

from datetime import datetime

import pytest

from demo.client import Run
from tests.sandbox.chaos.conftest import WHOLE
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

only_in_chaos = pytest.mark.skipif(not WHOLE, reason="it is part of make chaos")


def test_of_two_deploys_at_the_same_second_one_switches_and_the_other_says_that_it_is_live(
    stack: Stack,
) -> None:
    old, ref, client = stack.live(), stack.other_ref(), stack.client
    runs = [stack.trigger("deploy", ref=ref) for _ in range(2)]
    states = [client.wait(run, 120) for run in runs]
    reports = [client.xcom(run, "report", "report") for run in runs]
    assert states == ["success", "success"], reports
    assert sorted(report["outcome"] for report in reports) == ["already live", "live and confirmed"]
    switches = [client.xcom(run, "switch_traffic") for run in runs]
    assert [bool(switch) for switch in switches].count(True) == 1
    assert stack.live() != old


@only_in_chaos
def test_a_deploy_and_a_rollback_at_the_same_second_take_turns(stack: Stack) -> None:
    old, ref, client = stack.live(), stack.other_ref(), stack.client
    deploy, rollback = stack.trigger("deploy", ref=ref), stack.trigger("rollback")
    assert [client.wait(run, 180) for run in (deploy, rollback)] == ["success", "success"]
    ends = [client.xcom(run, "report", "report")["outcome"] for run in (deploy, rollback)]
    if ends == ["already live", "live and confirmed"]:
        # The rollback came first, and the release before is the one that was asked for.
        assert stack.live() != old
        assert stack.live_ref() == ref
    else:
        assert ends == ["live and confirmed"] * 2
        moments = {}
        for run in (deploy, rollback):
            [switch] = client.xcom(run, "switch_traffic").values()
            moments[switch["at"]] = switch["to"]
        # Each moved traffic, one after the other, so it is where it was.
        assert [moments[at] for at in sorted(moments)][-1] == old == stack.live()


@only_in_chaos
def test_a_deploy_and_a_provision_at_the_same_second_exclude_each_other(stack: Stack) -> None:
    ref, client = stack.other_ref(), stack.client
    deploy, provision = stack.trigger("deploy", ref=ref), stack.trigger("provision")
    states = [client.wait(run, 180) for run in (deploy, provision)]
    reports = [client.xcom(run, "report", "report") for run in (deploy, provision)]
    assert states == ["success", "success"], reports
    assert [report["outcome"] for report in reports] == ["live and confirmed", "done"]
    assert stack.live_ref() == ref
    first, second = sorted(locked(stack, run) for run in (deploy, provision))
    assert first[1] < second[0]


def locked(stack: Stack, run: Run) -> tuple[datetime, datetime]:
    """Between what moments a run certainly held the lock."""
    tasks = stack.client.items(f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", "task_instances")
    at = {task["task_id"]: task for task in tasks}
    taken, given_back = at["lock"]["end_date"], at["report"]["start_date"]
    return datetime.fromisoformat(taken), datetime.fromisoformat(given_back)
