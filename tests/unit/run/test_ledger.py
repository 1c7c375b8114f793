"""What is written down about runs: by the report, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import report
from bluegreen.run.ledger import Record, read_ledger
from bluegreen.traffic.agent_answers import Counters, GoodRelease
from tests.started import good
from tests.unit.artifacts import built
from tests.unit.fleets import LB
from tests.unit.runs import APP, LOCK, REVISION, context, plan
from tests.unit.statuses import confirmed, status_at_end

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    one = create_autospec(ProxiesHook, instance=True)
    one.record.return_value = {"lb-1": "a" * 64}
    factory = MagicMock(return_value=one)
    factory.holding.return_value = one
    one.factory = factory
    monkeypatch.setattr(report, "ProxiesHook", factory)
    counted = {Color.GREEN: Counters(requests=140, responses_5xx=2), Color.BLUE: Counters()}
    live = status_at_end(Color.GREEN, confirmed=confirmed(), counters=counted)
    one.statuses.return_value = {"lb-1": live}
    return one


PLANNED = {"provision_check__plan": plan(Color.BLUE)}


def run_report(
    states: dict[str, str], good: bool = True, emergency: bool = False, **xcoms: Any
) -> dict[str, Any]:
    """Run the task; the record that it pushes."""
    found: dict[str, Any] = run_task(states, good, emergency, **xcoms)["record"]
    return found


def run_task(
    states: dict[str, str], good: bool = True, emergency: bool = False, **xcoms: Any
) -> dict[str, Any]:
    """Run the task; the report that it pushes."""
    run = context({"report": "running", **states}, resolve_ref=REVISION, **{**PLANNED, **xcoms})
    run["params"] = {"ref": "v2", "reason": "bug 7", "emergency": emergency}
    run["ti"].get_task_breadcrumbs = lambda dag_id, run_id: [
        {"task_id": "deploy", "map_index": 0, "duration": 4.04},
        {"task_id": "lock", "map_index": -1, "duration": None},
    ]
    task = report.ReportOperator(task_id="report", app_id=APP, subject="deploy of v2")
    task.__dict__["read_fleet"] = lambda: SimpleNamespace(proxies=(LB,))
    if good:
        task.execute(run)
    else:
        with pytest.raises(AirflowFailException):
            task.execute(run)
    found: dict[str, Any] = run["ti"].said["report"]
    return found


DONE = {"lock": "success", "switch_traffic": "success", "confirm": "success"}
SWITCH = {"from": "blue", "to": "green", "milliseconds": 12.5, "at": NOON.timestamp()}
SWITCHED = {"lb-1": {**SWITCH, "counters": {"green": {"requests": 40}}}}


def test_a_deploy_is_recorded_before_its_lock_is_released(hook: Any) -> None:
    line = run_report(DONE, lock=LOCK, switch_traffic=SWITCHED)
    assert [call[0] for call in hook.method_calls] == ["statuses", "record", "unlock", "close"]
    assert hook.record.call_args.args == (line,)
    record = Record.model_validate(line)
    assert (record.trigger, record.triggered_by) == ("manual", "alice")
    assert (record.ref, record.revision) == ("v2", REVISION)
    assert (record.reason, record.outcome) == ("bug 7", "live and confirmed")
    assert (record.from_color, record.to, record.live) == (Color.BLUE, Color.GREEN, Color.GREEN)
    assert (record.requests, record.failed, record.live_revision) == (100, 2, REVISION)
    assert (record.switched_at, record.switch_ms, record.phases) == (NOON, 12.5, {"deploy_0": 4.0})


def test_a_record_has_what_its_run_has_seen_as_the_head_of_each_ledger(hook: Any) -> None:
    # So the other proxies, and Airflow, know what was there before.
    heads = {"lb-1": "a" * 64, "lb-2": "b" * 64, "lb-3": None}
    hook.statuses.return_value = {
        name: status_at_end(Color.GREEN, confirmed=confirmed(), ledger=head) for name, head in heads.items()
    }
    assert run_report(DONE, lock=LOCK, switch_traffic=SWITCHED)["ledgers"] == {
        "lb-1": "a" * 64,
        "lb-2": "b" * 64,
    }


def test_the_report_keeps_the_digest_of_the_line_that_each_ledger_ends_with(hook: Any) -> None:
    """No later line names the last one, so Airflow has to know it."""
    heads = {"lb-1": "c" * 64, "lb-2": "d" * 64}
    hook.record.return_value = heads
    ran = run_task(DONE, lock=LOCK, switch_traffic=SWITCHED)
    assert ran["heads"] == heads
    assert run_task({"resolve_ref": "failed", "lock": "upstream_failed"}, good=False)["heads"] == heads
    hook.record.side_effect = BlueGreenError("lb-1: no space left")
    assert run_task(DONE, lock=LOCK, switch_traffic=SWITCHED)["heads"] == {}


SEEN = {
    "bake_seconds": 10.2,
    "own_requests": {"/": {name: {"requests": 80, "failed": 1, "p99_ms": 9.5} for name in ("new", "before")}},
    "all_requests": {
        "lb-1": {name: {"requests": 140, "failed": 2, "retried": 0} for name in ("new", "before")}
    },
    "rests_on": {"own_requests": 80, "paths": 1, "client_requests": 60},
}


def test_a_record_holds_what_the_bake_came_to(hook: Any) -> None:
    states = {**DONE, "final_validation": "success"}
    line = run_report(states, lock=LOCK, switch_traffic=SWITCHED, final_validation=SEEN)
    assert line["validation"] == {
        "seconds": 10.2,
        "own_requests": {"/": {"requests": 80, "failed": 1, "p99_ms": 9.5}},
        "all_requests": {"lb-1": {"requests": 140, "failed": 2, "retried": 0}},
        "rests_on": {"own_requests": 80, "paths": 1, "client_requests": 60},
    }
    assert "live is green; rests on 80 own requests to 1 path and 60 of clients;" in line["message"]
    assert Record.model_validate(line).line() == line


def test_a_record_names_what_was_started_by_more_than_its_revision(hook: Any) -> None:
    hook.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    made, bad = built("c" * 64), {"switch_traffic": "success", "final_validation": "failed"}
    bad |= {"rollback": "success"}
    line = run_report(bad, good=False, lock=LOCK, build=made, final_validation__error="bad")
    assert (line["release"], line["configuration"]) == (made["release"], "c" * 64)
    previous = {"release": made["release"], "configuration": "e" * 64, "pairings": {}}
    line = run_report(bad, good=False, lock=LOCK, previous_release__previous=previous)
    assert (line["release"], line["configuration"]) == (made["release"], "e" * 64)


def test_what_was_live_is_what_the_proxies_have_confirmed_whatever_an_xcom_says_by_now(hook: Any) -> None:
    """A rollback goes to whatever the ledger calls live, and needs no approval."""
    known = GoodRelease.model_validate(good("d" * 40, "green-1"))
    [status] = hook.statuses.return_value.values()
    status.good = {Color.GREEN: known}
    line = run_report(DONE, lock=LOCK, build=built("c" * 64))
    assert (line["revision"], line["release"]) == ("d" * 40, known.release)
    assert line["configuration"] == known.configuration
    status.good = {}
    line = run_report(DONE, lock=LOCK, build=built("c" * 64))
    assert not {"release", "configuration"} & line.keys()


def test_a_record_says_that_a_deploy_was_an_emergency(hook: Any) -> None:
    assert run_report(DONE, lock=LOCK, emergency=True)["emergency"] is True
    assert "emergency" not in run_report(DONE, lock=LOCK)


def test_a_record_holds_why_a_release_was_bad(hook: Any) -> None:
    hook.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    verdict = "the new release is bad: 9 of 80 requests failed"
    states = {"switch_traffic": "success", "final_validation": "failed", "rollback": "success"}
    line = run_report(states, good=False, lock=LOCK, final_validation__error=verdict)
    assert line["validation"] == {"verdict": verdict}


def test_a_record_does_not_call_nothing_live_because_proxies_disagree(hook: Any) -> None:
    hook.statuses.return_value = {"lb-1": status_at_end(Color.BLUE), "lb-2": status_at_end(Color.GREEN)}
    line = run_report({**DONE, "confirm": "failed"}, good=False, lock=LOCK)
    assert not Record.model_validate(line).live_known


def test_a_ledger_that_cannot_be_written_changes_neither_outcome_nor_lock(hook: Any) -> None:
    hook.record.side_effect = BlueGreenError("lb-1: no space left")
    assert run_report(DONE, lock=LOCK)["outcome"] == "live and confirmed"
    hook.unlock.assert_called_once()


def test_a_run_without_a_lock_is_recorded_too(hook: Any) -> None:
    run_report({"resolve_ref": "failed", "lock": "upstream_failed"}, good=False)
    hook.record.assert_called_once()


def test_a_run_that_was_refused_the_lock_does_not_ask_digitalocean_again(hook: Any) -> None:
    run_report({"lock": "failed"}, good=False)
    assert hook.factory.call_args.args[1] == []


def test_a_dry_run_writes_nothing(hook: Any) -> None:
    run_report({"check": "failed"}, good=False)
    hook.record.assert_not_called()


def record(number: int, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dag_id": "deploy",
        "run_id": f"run-{number}",
        "trigger": "manual",
        "triggered_by": "alice",
    }
    base |= {"subject": "deploy", "started": NOON, "ended": NOON + timedelta(minutes=number)}
    return Record.model_validate({**base, **more}).line()


def test_the_ledgers_of_several_proxies_are_one() -> None:
    one, two = [record(1), record(2), {"torn": True}], [record(2), record(3)]
    assert [each.run_id for each in read_ledger([two, one])] == ["run-1", "run-2", "run-3"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("own", [{}, {"found_by": "run-2"}], ids=["its own record", "presumed dead"])
def test_what_ends_the_way_back_is_known_if_any_proxy_knows_it(own: dict[str, Any], turned: bool) -> None:
    """A run that died has kept its switch on one of two proxies."""
    ledgers = [[record(1, **own)], [record(1, found_by="run-2", irreversible="drops it", contracted=True)]]
    (found,) = read_ledger(reversed(ledgers) if turned else ledgers)
    assert (found.irreversible, found.contracted) == ("drops it", True)
    assert own or not found.found_by


@pytest.mark.parametrize("turned", [False, True])
def test_what_a_run_said_itself_is_better_than_that_it_seemed_dead(turned: bool) -> None:
    ledgers = [[record(1, outcome="rolled back")], [record(1, outcome="no word", found_by="run-2")]]
    (found,) = read_ledger(reversed(ledgers) if turned else ledgers)
    assert found.outcome == "rolled back"
