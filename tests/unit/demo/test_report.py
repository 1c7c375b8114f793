"""The demo's report: which request belongs to which deploy, and what is not as it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demo.report import Deploy, problems, report, table
from sandbox.traffic_records import Outcome, Record

V1 = Deploy(
    ref="v1",
    revision="1" * 40,
    run_id="run-1",
    state="success",
    outcome="live and confirmed",
    live="blue",
    triggered=1000.0,
    ended=1020.0,
    switched=1012.0,
    switch_ms=4.26,
    job_seconds=3.0,
    bake_seconds=5.0,
)
V2 = replace(V1, ref="v2", live="green", triggered=1030.0, ended=1050.0, switched=1042.0)
V3 = replace(
    V1,
    ref="v3-broken",
    state="failed",
    outcome="refused before the switch",
    live="green",
    triggered=1060.0,
    ended=1070.0,
    switched=None,
    switch_ms=None,
    bake_seconds=0.0,
)
V4 = replace(V2, ref="v4-bad", state="failed", outcome="rolled back", triggered=1080.0, ended=1095.0)
ALL = [V1, V2, V3, replace(V4, switched=1090.0)]


def asked(start: float, outcome: Outcome = Outcome.OK, milliseconds: float = 5.0) -> Record:
    kind = "reset" if outcome is Outcome.FAILED else ""
    status = 0 if outcome is Outcome.FAILED else 200
    return Record(start, milliseconds, outcome, kind, "GET /", status, "blue", "1" * 40)


def rows(**changed: Any) -> list[dict[str, Any]]:
    """Rows of a demo that went well, but for what is changed in the second."""
    result = report(ALL, [])["deploys"]
    result[1].update(changed)
    return list(result)


def test_every_request_belongs_to_the_deploy_that_was_triggered_last() -> None:
    records = [asked(start) for start in (1013.0, 1029.9, 1030.0, 1059.0, 1060.0, 1080.0, 1200.0)]
    result = report(ALL, records)
    assert [row["requests"] for row in result["deploys"]] == [2, 2, 1, 2]
    assert result["requests"] == len(records)


def test_failures_and_the_app_s_own_errors_are_counted_apart() -> None:
    records = [asked(1041.0, Outcome.FAILED), asked(1091.0, Outcome.APP_ERROR), asked(1092.0)]
    result = report(ALL, records)
    assert [row["failed"] for row in result["deploys"]] == [0, 1, 0, 0]
    assert [row["app_errors"] for row in result["deploys"]] == [0, 0, 0, 1]
    assert result["failed"] == 1


def test_times_of_a_deploy_that_moved_traffic() -> None:
    row = report(ALL, [])["deploys"][0]
    assert row["seconds"] == 12.0
    assert row["overhead_seconds"] == 20.0 - 3.0 - 5.0
    assert row["switch_ms"] == 4.3


def test_times_of_a_deploy_that_never_moved_traffic() -> None:
    row = report(ALL, [])["deploys"][2]
    assert row["seconds"] == 10.0
    assert row["overhead_seconds"] == 7.0
    assert row["switch_ms"] is None


def test_latencies_before_and_during_a_switch() -> None:
    before, during, later = asked(1035.0, milliseconds=7), asked(1043.0, milliseconds=9), asked(1049.0)
    row = report(ALL, [before, during, replace(later, duration_ms=500)])["deploys"][1]
    assert row["p99_ms"] == {"before": 7.0, "during": 9.0}


def test_latencies_without_requests_are_unknown_and_not_zero() -> None:
    assert report(ALL, [])["deploys"][0]["p99_ms"] == {"before": None, "during": None}


def test_the_keys_are_those_that_others_rely_on() -> None:
    result = report(ALL, [])
    assert list(result) == ["deploys", "requests", "failed"]
    assert list(result["deploys"][0]) == [
        *(
            "ref",
            "revision",
            "run_id",
            "state",
            "outcome",
            "live",
            "seconds",
            "overhead_seconds",
            "switch_ms",
        ),
        *("requests", "failed", "app_errors", "p99_ms"),
    ]


def test_nothing_is_wrong_with_a_demo_that_went_well() -> None:
    assert problems(rows()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": "failed"}, "v2: state is 'failed' instead of 'success'"),
        ({"outcome": "rolled back"}, "v2: outcome is 'rolled back'"),
        ({"failed": 3}, "v2: 3 requests of clients failed"),
        ({"live": "blue"}, "v2: live did not change: blue"),
        ({"live": None}, "v3-broken: live is no longer None: green"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], words: str) -> None:
    assert any(problem.startswith(words) for problem in problems(rows(**changed)))


def test_a_refused_deploy_must_not_change_live() -> None:
    moved = report([V1, V2, replace(V3, live="blue"), replace(V4, live="blue")], [])["deploys"]
    assert problems(moved) == ["v3-broken: live is no longer green: blue"]


def test_the_table_shows_a_dash_for_what_is_unknown() -> None:
    lines = table(report(ALL, [asked(1013.0)])).splitlines()
    assert lines[1].split() == [
        *("v1", "success", "live", "and", "confirmed", "blue"),
        *("12.0", "12.0", "4.3", "1", "0", "0", "-", "5.0"),
    ]
    assert lines[-1] == "1 requests, 0 failed"
