"""Releases that no health check finds: given back during the bake, under load."""

from __future__ import annotations

import time

import pytest

from sandbox.traffic_records import read, summarize
from tests.sandbox.stack import Judge, Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

BAKE_SECONDS = 10


@pytest.mark.parametrize(("ref", "words"), [("v5-flaky", "allowed are 1.0% more"), ("v6-slow", "the median")])
def test_a_release_that_is_a_little_bad_is_given_back(
    stack: Stack, judge: Judge, ref: str, words: str
) -> None:
    old, started = stack.live(), time.time()
    ended = stack.run("deploy", ref=ref, bake=BAKE_SECONDS).expect("rolled back")
    assert stack.live() == old
    assert "the new release is bad" in ended.report["message"]
    assert words in ended.report["message"]

    assert summarize(read(judge.records), started, time.time()).failed == 0
    [switch] = stack.client.xcom(ended.run, "switch_traffic").values()
    last = max(record.start for record in read(judge.records) if record.revision == stack.revisions[ref])
    assert last - switch["at"] < stack.confirm_within
