"""The ledger of the shared fleet, after all that the tests before this one have done to it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bluegreen.ledger import Record, read_ledger, replay
from demo.client import Run
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

LEDGER = "/var/lib/bluegreen/ledger.jsonl"
RECORDED = ("deploy", "rollback", "provision")


def ledger(stack: Stack) -> list[Record]:
    lines = stack.load_balancer().run(["cat", LEDGER]).stdout.splitlines()
    return read_ledger([[json.loads(line) for line in lines]])


def runs(stack: Stack) -> list[Run]:
    """Every run of Airflow that may change a machine, and found out where its load balancers are."""
    found = []
    for kind in RECORDED:
        dag_id = f"bluegreen_{kind}__my_perl_app"
        for data in stack.client.items(f"dags/{dag_id}/dagRuns", "dag_runs"):
            run = Run(dag_id, data["dag_run_id"], 0)
            message = stack.client.xcom(run, "report", "report")["message"]
            if "DigitalOcean" not in message:
                found.append(run)
    return found


def test_every_run_has_left_one_record_and_the_last_ones_tell_who_is_live(stack: Stack) -> None:
    stack.run("deploy", ref="nope")
    stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    stack.run("deploy", ref="v3")
    lines = Counter((one.dag_id, one.run_id) for one in ledger(stack))
    assert set(lines.values()) == {1}
    assert sorted(lines) == sorted((run.dag_id, run.run_id) for run in runs(stack))

    records = ledger(stack)
    unknown, live, bad = records[-3:]
    assert [one.outcome for one in (unknown, live, bad)] == [
        "refused before the switch",
        "live and confirmed",
        "refused before the switch",
    ]
    assert (unknown.ref, unknown.revision) == ("nope", None)
    assert live.requests is not None
    assert live.requests > 0
    assert live.failed == 0
    assert live.phases["deploy_0"] > 0
    assert live.switch_ms is not None
    assert live.switch_ms < 1000

    state = replay(records)
    assert state.live == stack.live()
    ref = stack.live_ref()
    assert ref is not None
    assert state.revision == stack.revisions[ref]
