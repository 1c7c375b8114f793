"""The status of an app."""

from __future__ import annotations

from typing import Any

from bluegreen.checks.facts import (
    Reading,
)
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from tests.unit.agent_status import NO_COUNTERS
from tests.unit.facts import NOW, facts
from tests.unit.statuses import status


def test_a_status_is_shown_even_if_nothing_can_be_read() -> None:
    gone = Reading[Any](BlueGreenError("green-1 cannot be reached"), NOW, NOW)
    sick = facts(
        statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
        proxies={},
        servers={"green-1": gone},
    )
    text = "\n".join(lines_of(status_of(sick, findings_in(sick), [])))
    assert "live: nothing (not every proxy could be asked" in text
    assert "green-1 cannot be reached" in text


def test_a_status_has_what_each_haproxy_counted() -> None:
    had = {"requests": 1234, "responses_5xx": 5, "connection_errors": 6, "retries": 7, "redispatches": 8}
    counted = status(
        counters={"blue": had, "green": NO_COUNTERS},
        sessions={"blue": 9, "green": 0},
        answer_times={"blue": 42},
    )
    shown = status_of(facts(statuses={"lb-1": counted}), [], [])
    [proxy] = shown.proxies
    assert proxy.traffic[Color.BLUE].model_dump() == {**had, "in_progress": 9, "answer_time": 42}
    lines = [" ".join(line.split()) for line in lines_of(shown)]
    assert "lb-1 blue 1234 5 6 7 9 42 ms" in lines
    assert "lb-1 green 0 0 0 0 0 0 ms" in lines


def test_a_status_names_the_live_color() -> None:
    shown = status_of(facts(), [], [])
    assert (shown.live, shown.is_live_known) == (Color.BLUE, True)
    assert {one.name: one.is_live for one in shown.droplets} == {"blue-1": True, "green-1": False}
