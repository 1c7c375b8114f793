"""What a job writes goes to its task's log, up to a limit."""

from __future__ import annotations

import logging

import pytest

from bluegreen.operators.support import job_log
from bluegreen.operators.support.job_log import JobLog


def test_a_job_that_writes_without_end_is_shown_up_to_a_limit_and_its_last_words_are_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "MOST_CHARACTERS", 1 << 20)
    caplog.set_level(logging.INFO)
    log = JobLog(logging.getLogger("job"))
    for _ in range(5):
        log.write(["x" * 1000] * 1000)
    log.write(["bluegreen: it failed"])
    assert sum(len(record.message) for record in caplog.records) < 1 << 21
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "more than 1 MB of output: the rest is not shown"
    ]
    assert log.last[-1] == "bluegreen: it failed"
    assert len(log.last) == job_log.LAST_LINES
