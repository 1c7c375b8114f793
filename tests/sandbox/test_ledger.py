"""The ledger of the shared fleet, after all that the tests before this one have done to it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bluegreen.run.ledger import Record, read_ledger
from demo.client import Run
from tests.sandbox.app_file import chat, settings, told
from tests.sandbox.replay import replay
from tests.sandbox.stack import Ended, Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

LEDGER = "/var/lib/bluegreen/ledger.jsonl"
RECORDED = ("deploy", "rollback", "provision")


def ledger(stack: Stack) -> list[Record]:
    lines = stack.proxy().run(["cat", LEDGER]).stdout.splitlines()
    return read_ledger([[json.loads(line) for line in lines]])


def runs(stack: Stack) -> list[Run]:
    """Every run of Airflow that may change a machine, and found out where its proxies are."""
    found = []
    for kind in RECORDED:
        dag_id = f"bluegreen_{kind}__my_perl_app"
        for data in stack.client.items(f"dags/{dag_id}/dagRuns", "dag_runs"):
            run = Run(dag_id, data["dag_run_id"], 0)
            message = stack.client.xcom(run, "report", "report")["message"]
            if "DigitalOcean" not in message and not data["conf"].get("dry_run"):
                found.append(run)
    return found


def events(stack: Stack, asset: str, ended: Ended) -> list[Record]:
    found = stack.client.items("assets/events", "asset_events")
    return [
        Record.model_validate(event["extra"])
        for event in found
        if event["name"] == f"bluegreen_{asset}__my_perl_app" and event["source_run_id"] == ended.run.run_id
    ]


def test_every_run_leaves_one_record_and_is_announced_and_the_last_ones_tell_who_is_live(
    stack: Stack,
) -> None:
    refs = ("nope", stack.other_ref(), "v3-broken")
    with chat(stack, "success", "failure", "dry_run_failure") as (heard, changes), settings(stack, changes):
        ends = [stack.run("deploy", ref=ref) for ref in refs]
        ends.append(stack.run("dry_run", ref="nope"))
    records = ledger(stack)
    lines = Counter((one.dag_id, one.run_id) for one in records)
    assert set(lines.values()) == {1}
    assert sorted(lines) == sorted((run.dag_id, run.run_id) for run in runs(stack))

    unknown, live, bad = records[-3:]
    assert [one.outcome for one in (unknown, live, bad)] == [
        "refused before the switch",
        "live and confirmed",
        "refused before the switch",
    ]
    assert (unknown.ref, unknown.revision) == ("nope", None)
    who = [(one.trigger, one.triggered_by) for one in (unknown, live, bad)]
    assert who == [("manual", stack.airflow.user)] * 3
    assert live.requests
    assert live.failed == 0
    assert live.phases["deploy_0"] > 0
    assert live.switch_ms
    assert "deploy_0" in bad.phases

    # Everything that the tests before have done to the proxies left the chains whole.
    run = stack.trigger("status")
    stack.client.wait(run, 120)
    shown = stack.client.xcom(run, "status")
    assert [one for one in shown["findings"] if "its ledger was changed" in one["what"]] == []
    assert live.ledgers.keys() == {proxy.name for proxy in stack.proxies()}
    journal = stack.proxy().run(["journalctl", "--identifier=bluegreen-agent", "--output=cat", "--no-pager"])
    assert f"switch: done, for {live.dag_id}/{live.run_id} switch_traffic, token " in journal.stdout

    state = replay(records)
    assert state.live == stack.live()
    ref = stack.live_ref()
    assert ref is not None
    assert state.revision == stack.revisions[ref]

    *deploys, dry = ends
    assert [events(stack, "runs", ended) for ended in deploys] == [[unknown], [live], [bad]]
    assert [events(stack, "live", ended) for ended in ends] == [[], [live], [], []]
    [watched] = events(stack, "runs", dry)
    assert (watched.ref, watched.outcome) == ("nope", "failed")
    assert dry.state == "failed"
    assert told(heard) == [ended.report["message"] for ended in ends]
