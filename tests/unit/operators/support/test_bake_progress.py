"""How a bake goes, as it is left in Airflow while it lasts."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.operators.support import bake_progress
from bluegreen.operators.support.bake_progress import MOST_POINTS, BakeProgress
from bluegreen.traffic.agent_answers import Counters
from tests.waiting import until


class Run:
    """Keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: list[dict[str, Any]] = []

    def push(self, key: str, value: Any) -> None:
        assert key == "progress"
        self.pushed.append(value)


def proxies(*deadlines: float | None) -> list[Any]:
    return [
        SimpleNamespace(pending=SimpleNamespace(deadline=one) if one is not None else None)
        for one in deadlines
    ]


def counted(*figures: tuple[int, int]) -> list[Any]:
    return [
        SimpleNamespace(since_switch=Counters(requests=requests, responses_5xx=failed))
        for requests, failed in figures
    ]


def test_all_requests_and_failures_and_when_the_first_proxy_takes_the_switch_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bake_progress, "LEAVE_SECONDS", 0.01)
    run: Any = Run()
    progress = BakeProgress(run, 60)
    with progress.left_in_time():
        until(lambda: bool(run.pushed), "the begin is left")
        assert run.pushed[0]["points"] == []
        progress.note(proxies(170.0, 150.0, None), counted((10, 1), (20, 2)))
        until(lambda: bool(run.pushed[-1]["points"]), "a point is left")
    left = run.pushed[-1]
    assert (left["reverts_at"], round(left["ends"] - left["began"])) == (150.0, 60)
    assert [point[1:] for point in left["points"]] == [[30, 3]]


def test_a_long_bake_leaves_few_points_of_its_whole_length() -> None:
    progress = BakeProgress(Run(), 600)  # type: ignore[arg-type]
    for number in range(1000):
        progress.note([], counted((number, 0)))
    requests = [point[1] for point in progress._value()["points"]]
    assert len(requests) <= MOST_POINTS
    assert requests[0] == 0
    assert requests[-1] == 999
    assert requests == sorted(requests)


@pytest.mark.parametrize("failing", [True, False], ids=["fails", "hangs"])
def test_an_api_server_that_is_away_or_slow_does_not_delay_the_bake(failing: bool) -> None:
    asked, answers = threading.Event(), threading.Event()

    class Away(Run):
        def push(self, key: str, value: Any) -> None:
            asked.set()
            if failing:
                raise OSError("away")
            answers.wait(30)

    with BakeProgress(Away(), 60).left_in_time() as reader:  # type: ignore[arg-type]
        assert asked.wait(30)
    assert not answers.is_set()
    answers.set()
    assert reader is not None
