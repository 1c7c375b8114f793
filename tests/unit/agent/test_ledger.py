"""The ledger on a proxy: one line for each run, whatever became of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.proxy.ledger import PREVIOUS
from bluegreen.color import Color
from bluegreen.run.ledger import Record
from tests.unit.local_haproxy import REVISIONS, Deployed, LocalHaproxy

BEGUN = {
    "dag_id": "deploy",
    "run_id": "run-2",
    "attempt": 0,
    "subject": "deploy of v2",
    "triggered_by": "alice",
    "trigger": "manual",
    "ref": "v2",
    "revision": REVISIONS[Color.GREEN],
    "reason": "bug 7",
    "started": "2026-11-23T07:00:00Z",
}
ENDED = {**BEGUN, "outcome": "rolled back", "ended": "2026-11-23T07:01:00Z", "message": "deploy of v2: bad"}
NEXT = {"owner": "bob", "run_id": "deploy/run-3", "ref": "v3", "begun": {**BEGUN, "run_id": "run-3"}}


def lines(deployed: Deployed) -> list[dict[str, Any]]:
    """The records, without their links to the lines before."""
    file = deployed.world.root / "var/lib/bluegreen/ledger.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [{key: value for key, value in one.items() if key != PREVIOUS} for one in found]


def records(deployed: Deployed) -> list[Record]:
    return [Record.model_validate(one) for one in deployed.world.ok("ledger", last=100)["records"]]


@pytest.fixture
def dying(deployed: Deployed) -> Deployed:
    """A run that holds the lock, and will not give it back."""
    deployed.world.ok("unlock", token=deployed.token)
    lock = deployed.world.ok("lock", owner="alice", run_id="deploy/run-2", ref="v2", begun=BEGUN)
    deployed.token = lock["token"]
    return deployed


def test_a_run_that_is_reported_twice_has_one_record(deployed: Deployed) -> None:
    assert deployed.world.ok("record", record=ENDED)["written"] is True
    assert deployed.world.ok("record", record={**ENDED, "outcome": "another"})["written"] is False
    assert lines(deployed) == [ENDED]


def test_a_run_that_was_cleared_and_ran_again_has_two(deployed: Deployed) -> None:
    for attempt in (0, 1):
        deployed.world.ok("record", record={**ENDED, "attempt": attempt})
    assert [one.attempt for one in records(deployed)] == [0, 1]


def test_half_a_line_of_a_killed_call_is_not_left_among_the_records(deployed: Deployed) -> None:
    deployed.world.ok("record", record=ENDED)
    with (deployed.world.root / "var/lib/bluegreen/ledger.jsonl").open("a") as file:
        file.write(json.dumps({**ENDED, "run_id": "run-3"})[:40])
    assert [one.run_id for one in records(deployed)] == ["run-2"]
    deployed.world.ok("record", record={**ENDED, "run_id": "run-3"})
    assert [line["run_id"] for line in lines(deployed)] == ["run-2", "run-3"]


def test_the_last_records_are_the_newest(deployed: Deployed) -> None:
    for number in range(4):
        deployed.world.ok("record", record={**ENDED, "run_id": f"run-{number}"})
    last = deployed.world.ok("ledger", last=2)["records"]
    assert [one["run_id"] for one in last] == ["run-2", "run-3"]


@pytest.mark.parametrize(
    "record",
    [None, "text", {}, {**ENDED, "run_id": "a\nb"}, {**ENDED, "attempt": "1"}, {**ENDED, "a": "x" * 70000}],
)
def test_what_is_not_a_record_is_refused(deployed: Deployed, record: Any) -> None:
    assert deployed.world.refused("record", record=record)[0] == "bad_request"
    assert lines(deployed) == []


def test_the_record_of_a_dead_run_is_completed_by_the_run_that_takes_its_lock_over(dying: Deployed) -> None:
    dying.world.ok("lock", **NEXT, over=dying.token)
    (found,) = records(dying)
    assert (found.run_id, found.triggered_by, found.reason) == ("run-2", "alice", "bug 7")
    assert (found.outcome, found.found_by) == ("ended without a report", "deploy/run-3")
    assert (found.live, found.live_revision) == (Color.BLUE, REVISIONS[Color.BLUE])
    assert found.ended is not None


def test_it_says_that_a_dead_run_s_switch_was_taken_back(dying: Deployed) -> None:
    dying.switch(Color.GREEN)
    dying.world.ok("lock", **NEXT, over=dying.token)
    (found,) = records(dying)
    assert (found.from_color, found.to, found.live) == (Color.BLUE, Color.GREEN, Color.BLUE)
    assert "its switch was taken back" in found.message


def test_it_says_that_a_dead_run_s_switch_is_kept(dying: Deployed) -> None:
    dying.switch(Color.GREEN)
    dying.world.ok("confirm", token=dying.token, revision=REVISIONS[Color.GREEN])
    dying.world.ok("lock", **NEXT, over=dying.token)
    (found,) = records(dying)
    assert (found.to, found.live, found.live_revision) == (Color.GREEN, Color.GREEN, REVISIONS[Color.GREEN])
    assert "its switch is kept" in found.message


def test_a_late_report_of_a_run_that_was_thought_dead_adds_nothing(dying: Deployed) -> None:
    dying.world.ok("lock", **NEXT, over=dying.token)
    assert dying.world.ok("record", record=ENDED)["written"] is False
    assert [one.outcome for one in records(dying)] == ["ended without a report"]


def test_a_run_that_died_after_its_report_is_not_reported_again(dying: Deployed) -> None:
    dying.world.ok("record", record=ENDED)
    dying.world.ok("lock", **NEXT, over=dying.token)
    assert lines(dying) == [ENDED]


def test_a_run_that_gives_its_lock_back_and_takes_it_again_has_not_ended(dying: Deployed) -> None:
    dying.world.ok("lock", owner="alice", run_id="deploy/run-2", ref="v2", begun=BEGUN)
    dying.world.ok("unlock", token=dying.token)
    dying.world.ok("lock", owner="alice", run_id="deploy/run-2", ref="v2", begun=BEGUN)
    assert lines(dying) == []


def test_a_call_that_was_killed_before_it_completed_a_record_does_so_when_it_is_tried_again(
    dying: Deployed,
) -> None:
    ledger = dying.world.root / "var/lib/bluegreen/ledger.jsonl"
    # A directory in its place: the call ends just before the line is written.
    ledger.mkdir()
    assert not dying.world.call("lock", **NEXT, over=dying.token)["ok"]
    ledger.rmdir()
    dying.world.ok("lock", **NEXT)
    assert [line["run_id"] for line in lines(dying)] == ["run-2"]
    assert "left" not in dying.status()["lock"], "what is done is not kept for ever"


def test_a_ledger_that_has_become_large_is_kept_beside_a_new_one_with_its_last_lines(
    proxy: LocalHaproxy,
) -> None:
    file = proxy.root / "var/lib/bluegreen/ledger.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f'{{"dag_id": "deploy", "run_id": "run-{number}"}}\n' for number in range(400_000))
    file.write_text(text)
    assert file.stat().st_size > 1 << 24
    before = proxy.ok("ledger", last=100)["records"]
    line = {"dag_id": "deploy", "run_id": "new", "attempt": 0}
    assert proxy.ok("record", record=line)["written"]
    assert not proxy.ok("record", record=line)["written"]
    *kept, last = proxy.ok("ledger", last=101)["records"]
    assert (kept, {**last, PREVIOUS: None}) == (before, {**line, PREVIOUS: None})
    assert file.stat().st_size < 2 << 20
    assert file.with_name("ledger.jsonl.1").read_text() == text
