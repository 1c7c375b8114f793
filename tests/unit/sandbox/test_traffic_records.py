"""The judge's accounting: every request once, in the right place, readable while it is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.traffic_records import Outcome, Record, percentile, read, summarize

BLUE = "b" * 40
GREEN = "9" * 40


def ok(start: float, color: str = "blue", revision: str = BLUE, duration_ms: float = 1.0) -> Record:
    return Record(start, duration_ms, Outcome.OK, "", "GET /", 200, color, revision)


def failed(start: float, kind: str = "eof", status: int = 0) -> Record:
    return Record(start, 5.0, Outcome.FAILED, kind, "POST /echo", status, detail="the connection ended")


def app_error(start: float) -> Record:
    return Record(start, 2.0, Outcome.APP_ERROR, "", "GET /", 500, "green", GREEN)


def test_each_request_is_counted_once() -> None:
    summary = summarize([ok(1), ok(2), app_error(3), failed(4), failed(5, "http_5xx", 503)])
    assert (summary.requests, summary.ok, summary.app_errors, summary.failed) == (5, 2, 1, 2)
    assert summary.failures == {"eof": 1, "http_5xx": 1}


def test_nothing_at_all() -> None:
    summary = summarize([])
    assert (summary.requests, summary.failed, summary.p99_ms, summary.colors) == (0, 0, 0.0, {})


def test_window_has_its_begin_but_not_its_end() -> None:
    records = [ok(10.0), ok(11.0), failed(12.0), ok(13.0)]
    assert summarize(records, since=11.0, until=13.0).requests == 2
    assert summarize(records, since=11.0).requests == 3
    assert summarize(records, until=12.0).failed == 0
    halves = [summarize(records, until=11.5), summarize(records, since=11.5)]
    assert sum(half.requests for half in halves) == len(records)


def test_answers_by_color_and_revision_and_the_last_of_each() -> None:
    # In the order in which requests ended, which need not be the one in which they started.
    summary = summarize([ok(3.0), ok(2.0), ok(4.0, "green", GREEN), app_error(5.0), failed(9.0)])
    assert summary.colors == {"blue": 2, "green": 2}
    assert summary.revisions == {BLUE: 2, GREEN: 2}
    assert summary.last_start == {"blue": 3.0, "green": 5.0}


def test_first_failures_of_a_kind_are_shown() -> None:
    summary = summarize([failed(float(9 - number)) for number in range(9)])
    assert [record.start for record in summary.examples["eof"]] == [1.0, 2.0, 3.0]
    shown = summary.as_json()["failures"]["eof"]
    assert shown["count"] == 9
    assert shown["first"][0]["request"] == "POST /echo"
    assert shown["first"][0]["detail"] == "the connection ended"


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(100, 50, 50), (100, 99, 99), (100, 100, 100), (10, 99, 10), (1, 50, 1), (1000, 99, 990)],
)
def test_percentiles(count: int, percent: int, expected: float) -> None:
    assert percentile([float(number) for number in range(1, count + 1)], percent) == expected


def test_latencies_are_those_of_answers() -> None:
    summary = summarize([ok(1, duration_ms=10), ok(2, duration_ms=20), failed(3)])
    assert (summary.p50_ms, summary.max_ms) == (10, 20)


def test_file_holds_what_was_recorded(tmp_path: Path) -> None:
    records = [ok(1700000000.123456), app_error(3.5), failed(4.25)]
    path = tmp_path / "records.tsv"
    path.write_text("".join(record.line() for record in records), encoding="utf-8")
    assert read(path) == records


def test_hostile_header_cannot_end_a_field_or_a_line(tmp_path: Path) -> None:
    path = tmp_path / "records.tsv"
    path.write_text(ok(1, color="a\tb\nc\x85d\u2028e").line() + ok(2).line(), encoding="utf-8")
    assert [record.color for record in read(path)] == ["a b c d e", "blue"]


def test_unfinished_line_is_left_for_the_next_reading(tmp_path: Path) -> None:
    path = tmp_path / "records.tsv"
    whole, more = ok(1).line().encode(), ok(2, color="grün").line().encode()
    cut = more.index(b"\xbc")
    path.write_bytes(whole + more[:cut])
    assert len(read(path)) == 1
    path.write_bytes(whole + more)
    assert len(read(path)) == 2


def test_file_that_is_not_there_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "none.tsv") == []


def test_other_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "other.tsv"
    path.write_text(ok(1).line() + "something else\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.tsv, line 2: not a record"):
        read(path)
