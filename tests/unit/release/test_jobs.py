"""A job on a droplet: what it may be started with, and its report, as it is parsed."""

from __future__ import annotations

import pytest

from bluegreen.release.jobs import JobError, JobState, parse_job_report, start_script

RUN = "manual__2026-11-23T03:00:00+00:00"
CURSOR = 63


@pytest.mark.parametrize("run_id", ["", " ", "a\nb", "a\x1bb"])
def test_run_id_that_is_no_line_is_refused(run_id: str) -> None:
    with pytest.raises(ValueError, match="one line of text"):
        start_script(unit="bluegreen-shop", run_id=run_id, script="id", timeout=9)


def report(**changes: object) -> str:
    values = {"state": "running", "result": "success", "exit": 0, "milliseconds": 1500, "cursor": CURSOR}
    fields = " ".join(f"{key}={value}" for key, value in {**values, **changes}.items())
    return f"@bluegreen {fields} run_id={RUN}\n"


def test_running_job() -> None:
    parsed = parse_job_report("fetching\nbuilding\n" + report())
    assert parsed.state is JobState.RUNNING
    assert parsed.lines == ("fetching", "building")
    assert (parsed.exit_status, parsed.seconds, parsed.cursor) == (None, 1.5, CURSOR)
    assert parsed.run_id == RUN


def test_failed_job() -> None:
    parsed = parse_job_report("bluegreen: no\n" + report(state="failed", result="exit-code", exit=7))
    assert (parsed.state, parsed.result, parsed.exit_status) == (JobState.FAILED, "exit-code", 7)


def test_missing_job() -> None:
    parsed = parse_job_report(report(state="missing", milliseconds=0, cursor=0))
    assert (parsed.state, parsed.cursor, parsed.exit_status) == (JobState.MISSING, 0, None)


def test_job_cannot_forge_its_report() -> None:
    parsed = parse_job_report(report(state="success") + report(state="failed", exit=1))
    assert parsed.state is JobState.FAILED
    assert len(parsed.lines) == 1


@pytest.mark.parametrize(
    "output", ["", "Connection closed", report()[:60], report(state="excellent"), report() + "x"]
)
def test_report_that_is_not_whole(output: str) -> None:
    with pytest.raises(JobError, match="not whole"):
        parse_job_report(output)
