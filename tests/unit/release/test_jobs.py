"""How a job on a droplet ended, as it is parsed."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.release.jobs import JobError, JobReport, JobState

ANSWER: dict[str, Any] = {
    "ok": True,
    "state": "failed",
    "result": "exit-code",
    "exit_status": 7,
    "run_id": "manual__2026-11-23T03:00:00+00:00",
    "seconds": 1.5,
    "cursor": 63,
}


def test_an_answer_is_a_report() -> None:
    report = JobReport.parse(ANSWER)
    assert (report.state, report.result, report.exit_status) == (JobState.FAILED, "exit-code", 7)
    assert (report.seconds, report.cursor, report.run_id) == (1.5, 63, ANSWER["run_id"])


@pytest.mark.parametrize("key", sorted(set(ANSWER) - {"ok"}))
def test_an_answer_that_is_not_whole_is_none(key: str) -> None:
    with pytest.raises(JobError, match=f"not whole: {key}"):
        JobReport.parse({name: value for name, value in ANSWER.items() if name != key})


def test_a_state_that_nobody_knows_is_none() -> None:
    with pytest.raises(JobError, match="not whole: state"):
        JobReport.parse({**ANSWER, "state": "excellent"})
