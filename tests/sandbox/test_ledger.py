"""The ledger of the shared fleet, after all that the tests before this one have done to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from bluegreen.ledger import Record, read_ledger, replay
from demo.client import Run
from tests.sandbox.stack import Ended, Stack
from tests.unit.fake_airflow import FakeApi, serving

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
            if "DigitalOcean" not in message and not data["conf"].get("dry_run"):
                found.append(run)
    return found


@pytest.fixture
def chat(stack: Stack) -> Iterator[FakeApi]:
    """A service that the app's settings name for everything that is bad, and for what is good."""
    file = stack.environment.directory / "apps" / "my_perl_app.yaml"
    before = file.read_text()
    api = FakeApi()
    api.answers["POST /chat"] = {}
    with serving(api) as address:
        name = f"chat_{address.rpartition(':')[2]}"
        stack.client.connect(name, "apprise", {"config": {"path": f"json://{address}/chat"}})
        told = {"success": [name], "failure": [name]}
        file.write_text(yaml.safe_dump({**yaml.safe_load(before), "notifications": told}))
        yield api
        file.write_text(before)


def events(stack: Stack, asset: str, ended: Ended) -> list[Record]:
    found = stack.client.items("assets/events", "asset_events")
    return [
        Record.model_validate(event["extra"])
        for event in found
        if event["name"] == f"bluegreen_{asset}__my_perl_app" and event["source_run_id"] == ended.run.run_id
    ]


def test_every_run_leaves_one_record_and_is_announced_and_the_last_ones_tell_who_is_live(
    stack: Stack, chat: FakeApi
) -> None:
    ends = [stack.run("deploy", ref=ref) for ref in ("nope", stack.other_ref(), "v3-broken")]
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
    assert live.requests
    assert live.failed == 0
    assert live.phases["deploy_0"] > 0
    assert live.switch_ms
    assert "deploy_0" in bad.phases

    state = replay(records)
    assert state.live == stack.live()
    ref = stack.live_ref()
    assert ref is not None
    assert state.revision == stack.revisions[ref]

    assert [events(stack, "runs", ended) for ended in ends] == [[unknown], [live], [bad]]
    assert [events(stack, "live", ended) for ended in ends] == [[], [live], []]
    assert [sent["message"].splitlines()[0] for _, sent in chat.asked("POST")] == [
        ended.report["message"] for ended in ends
    ]
