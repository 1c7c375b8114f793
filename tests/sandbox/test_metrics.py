"""What a StatsD daemon has heard of the shared Airflow, after all that the tests before this one have run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from demo.client import Run
from demo.environment import APP
from tests.sandbox.stack import Stack
from tests.sandbox.test_ledger import ledger
from tests.statsd_sink import Sink

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

KINDS = ("provision", "deploy", "rollback", "dry_run")


def runs(stack: Stack, kind: str) -> list[dict[str, Any]]:
    return stack.client.items(f"dags/{stack.environment.dag_id(kind)}/dagRuns", "dag_runs")


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_the_figures_of_every_run_arrive_and_the_scheduler_is_heard(stack: Stack, sink: Sink) -> None:
    last = sink.last()
    for kind in KINDS:
        ends = {value for name, value in sink.heard() if name.startswith(f"bluegreen.run.ended.{kind}.")}
        dues = [value for name, value in sink.heard() if name == f"bluegreen.run.due.{kind}.{APP}"]
        for run in runs(stack, kind):
            # Those that a test gave up on may have no end yet.
            if run["end_date"]:
                begin, end = moment(run["start_date"]), moment(run["end_date"])
                assert round(end) in ends
                assert any(end < due < begin + 7200 for due in dues)
        assert 0 in dues or not dues

    live = {name for name in last if name == f"bluegreen.run.ended.deploy.{APP}.live_and_confirmed"}
    assert live, "the deploy of v1 at the beginning"
    assert last[f"bluegreen.lock.since.{APP}"] == 0
    [*_, record] = (one for one in ledger(stack) if one.switch_ms is not None)
    assert last[f"bluegreen.switch.requests.{APP}"] == record.requests
    assert last[f"bluegreen.switch.failed.{APP}"] == record.failed
    assert last[f"bluegreen.switch.milliseconds.{APP}"] == record.switch_ms
    if dry_runs := runs(stack, "dry_run"):
        newest = max(dry_runs, key=lambda run: moment(run["end_date"]))["dag_run_id"]
        found = stack.client.xcom(Run(stack.environment.dag_id("dry_run"), newest, 0), "check", "findings")
        errors = [one for one in found if one["severity"] == "error"]
        assert last[f"bluegreen.dry_run.errors.{APP}"] == len(errors)
    assert last["scheduler_heartbeat"] == 1
