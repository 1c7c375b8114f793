"""The chain of the ledger: whatever is changed in the file is named, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from agent.proxy import ledger as module
from agent.proxy import ledger_chain
from agent.proxy.ledger import PREVIOUS, Ledger
from agent.proxy.ledger_chain import DIGEST_LENGTH, RECENT
from agent.proxy.messages import LedgerChain
from agent.system import CallDeadline
from tests.unit.local_haproxy import Deployed

# Five runs, in this order.
RUNS = tuple(f"run-{number}" for number in range(5))


def record(run_id: str, **changes: Any) -> dict[str, Any]:
    return {"dag_id": "deploy", "run_id": run_id, "attempt": 0, "outcome": "live and confirmed", **changes}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    written = Ledger(tmp_path / "ledger.jsonl")
    for run_id in RUNS:
        assert written.append(record(run_id))
    return written


def chain(ledger: Ledger, seconds: float = 60) -> LedgerChain:
    return ledger_chain.chain(ledger, CallDeadline("facts", seconds))


def lines(ledger: Ledger) -> list[str]:
    return ledger.path.read_text().splitlines()


def write(ledger: Ledger, changed: list[str]) -> None:
    ledger.path.write_text("".join(f"{line}\n" for line in changed))


def rechained(records: list[dict[str, Any]]) -> list[str]:
    """What somebody writes who knows how the chain is made."""
    written: list[str] = []
    for one in records:
        last = hashlib.sha256(written[-1].encode()).hexdigest() if written else None
        written.append(json.dumps({**one, PREVIOUS: last}))
    return written


def test_a_line_has_the_digest_of_the_line_before(ledger: Ledger) -> None:
    written = lines(ledger)
    links = [json.loads(line)[PREVIOUS] for line in written]
    assert links == [None, *(hashlib.sha256(line.encode()).hexdigest() for line in written[:-1])]
    assert ledger.head() == hashlib.sha256(written[-1].encode()).hexdigest()
    found = chain(ledger)
    assert (found["lines"], found["problems"]) == (len(RUNS), [])
    assert found["digests"] == [hashlib.sha256(line.encode()).hexdigest()[:DIGEST_LENGTH] for line in written]


def test_a_record_cannot_choose_its_link(ledger: Ledger) -> None:
    ledger.append(record("run-5", **{PREVIOUS: "0" * 64}))
    assert chain(ledger)["problems"] == []


def test_a_changed_line_is_named(ledger: Ledger) -> None:
    written = lines(ledger)
    write(ledger, [*written[:2], written[2].replace("confirmed", "rejected"), *written[3:]])
    (problem,) = chain(ledger)["problems"]
    assert problem == "deploy/run-2 was changed, or something was removed between it and deploy/run-3"


def test_a_removed_line_is_named_by_its_neighbours(ledger: Ledger) -> None:
    written = lines(ledger)
    write(ledger, [*written[:2], *written[3:]])
    (problem,) = chain(ledger)["problems"]
    assert problem == "deploy/run-1 was changed, or something was removed between it and deploy/run-3"


def test_the_first_lines_cannot_be_removed_unnoticed(ledger: Ledger) -> None:
    write(ledger, lines(ledger)[2:])
    assert chain(ledger)["problems"] == ["what was before deploy/run-2 is gone"]


def test_an_inserted_line_is_named_whether_it_has_a_link_or_not(ledger: Ledger) -> None:
    written = lines(ledger)
    write(ledger, [*written[:2], json.dumps(record("evil")), *written[2:]])
    assert chain(ledger)["problems"] == [
        "something was inserted before deploy/run-2, the last of it deploy/evil",
    ]
    evil = {**record("evil"), PREVIOUS: hashlib.sha256(written[1].encode()).hexdigest()}
    write(ledger, [*written[:2], json.dumps(evil), *written[2:]])
    assert chain(ledger)["problems"] == [
        "something was inserted before deploy/run-2, the last of it deploy/evil"
    ]


@pytest.mark.parametrize("text", ["x", "[]", "{" * 100_000])
def test_what_is_no_record_is_named(ledger: Ledger, text: str) -> None:
    written = lines(ledger)
    write(ledger, [*written[:2], text, *written[2:]])
    assert "line 3 is no record" in chain(ledger)["problems"]


def test_a_whole_ledger_that_is_written_anew_has_other_digests(ledger: Ledger) -> None:
    before = chain(ledger)
    write(ledger, rechained([record(run_id) for run_id in RUNS if run_id != "run-1"]))
    after = chain(ledger)
    assert after["problems"] == []
    assert set(before["digests"]) & set(after["digests"]) == {before["digests"][0]}


def test_half_a_line_of_a_killed_call_is_no_problem_and_the_chain_goes_on(ledger: Ledger) -> None:
    with ledger.path.open("a") as file:
        file.write(json.dumps(record("half"))[:30])
    assert chain(ledger)["problems"] == []
    assert ledger.append(record("run-5"))
    assert (chain(ledger)["lines"], chain(ledger)["problems"]) == (6, [])


def test_lines_of_an_agent_that_knew_no_chain_accuse_nobody_wherever_they_are(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    write(ledger, [json.dumps(record("old-1")), json.dumps(record("old-2"))])
    assert ledger.append(record("new"))
    assert chain(ledger)["problems"] == []
    written = lines(ledger)
    write(ledger, [written[0], written[1].replace("confirmed", "rejected"), written[2]])
    assert chain(ledger)["problems"] == [
        "deploy/old-2 was changed, or something was removed between it and deploy/new"
    ]
    # The project went back to an older version for a while.
    write(ledger, [*written, json.dumps(record("old-3")), json.dumps(record("old-4"))])
    assert ledger.append(record("new-2"))
    assert chain(ledger)["problems"] == []
    written = lines(ledger)
    write(ledger, [*written[:4], written[4].replace("confirmed", "rejected"), written[5]])
    assert chain(ledger)["problems"] == [
        "deploy/old-4 was changed, or something was removed between it and deploy/new-2"
    ]


def test_a_new_file_goes_on_with_the_chain_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEDGER_LIMIT", 3000)
    monkeypatch.setattr(module, "LEDGER_TAIL", 1000)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(50):
        assert ledger.append(record(f"run-{number}"))
    found = chain(ledger)
    assert found["problems"] == []
    assert found["lines"] < 50
    assert len(found["digests"]) > found["lines"], "those of the old file are known, too"
    assert [one["run"] for one in found["recent"]][-1] == "deploy/run-49"
    ledger.before.unlink()
    (problem,) = chain(ledger)["problems"]
    assert problem.endswith("is gone")


def test_the_old_file_is_examined_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEDGER_LIMIT", 3000)
    monkeypatch.setattr(module, "LEDGER_TAIL", 1000)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(20):
        ledger.append(record(f"run-{number}"))
    first, second, *rest = ledger.before.read_text().splitlines()
    ledger.before.write_text("".join(f"{line}\n" for line in [first, second.replace("live", "dead"), *rest]))
    (problem,) = chain(ledger)["problems"]
    assert "run-1 was changed" in problem


def test_what_is_told_of_the_last_runs_is_short(ledger: Ledger) -> None:
    for number in range(5, 5 + RECENT):
        ledger.append(record(f"run-{number}", subject="x" * 10_000, ledgers={"lb-1": "a" * 64}))
    recent = chain(ledger)["recent"]
    assert len(recent) == RECENT
    assert recent[-1]["ledgers"] == {"lb-1": "a" * 64}
    assert len(json.dumps(recent)) < RECENT * 800


def test_a_ledger_that_takes_longer_than_the_call_may_is_not_examined_and_the_call_ends(
    ledger: Ledger,
) -> None:
    found = chain(ledger, seconds=0)
    assert found["unread"] == "facts ran out of time: it may take 0 s"
    assert (found["problems"], found["digests"]) == ([], [])


@pytest.mark.parametrize("forged", [{"message": "all well"}, {"ref": "v9"}, {"command": ["sh"]}, {"more": 1}])
def test_whatever_is_changed_in_a_record_changes_its_digest_and_its_place_in_a_chain_does_not(
    tmp_path: Path, forged: dict[str, Any]
) -> None:
    """The last line has no successor that names it, so the proxies' records are compared as a whole."""
    first, second = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    first.append(record("run-0"))
    sent = record("run-1", message="bad", ref="v1", command=["perl"])
    for ledger in (first, second):
        ledger.append(sent)

    def digests() -> list[str]:
        return [chain(ledger)["recent"][-1]["digest"] for ledger in (first, second)]

    assert len(set(digests())) == 1
    kept = lines(first)
    write(first, [kept[0], json.dumps({**json.loads(kept[1]), **forged})])
    assert chain(first)["problems"] == []
    assert len(set(digests())) == 2


def test_a_record_that_is_too_deep_to_be_compared_hides_nothing_else(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_deep(*_: object, **__: object) -> str:
        raise RecursionError

    monkeypatch.setattr("agent.proxy.ledger_chain.json.dumps", too_deep)
    found = chain(ledger)
    assert (found["problems"], found["recent"][-1]["digest"]) == ([], "")


def test_a_ledger_that_cannot_be_read_hides_nothing_else(deployed: Deployed) -> None:
    file = deployed.world.root / "var/lib/bluegreen/ledger.jsonl"
    file.mkdir()
    found = chain(Ledger(file))
    assert found["unread"] == f"IsADirectoryError: [Errno 21] Is a directory: '{file}'"
    assert found["problems"] == []
    assert deployed.status()["ledger"] is None
    assert deployed.status()["live"] == "blue"


def test_the_head_is_in_the_status_and_in_the_answer_to_whoever_adds_a_record(deployed: Deployed) -> None:
    assert deployed.status()["ledger"] is None
    head = deployed.world.ok("record", record=record("run-2"))["head"]
    (line,) = (deployed.world.root / "var/lib/bluegreen/ledger.jsonl").read_text().splitlines()
    assert head == hashlib.sha256(line.encode()).hexdigest()
    assert deployed.status()["ledger"] == head
