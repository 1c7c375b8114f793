"""What the page shows of a run that is at work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from bluegreen.page.at_work import Bake, RunView, run_view
from bluegreen.page.records import ActiveRun, Left, Question, TaskState
from bluegreen.page.view import app_view
from tests.unit.page_records import NEW, NOW, OLD, ago, first_deploy, shop

SWITCHED = {"lb-1": {"from": "blue", "to": "green"}, "lb-2": {"from": "blue", "to": "green"}}


def task(task_id: str, state: str | None = "success", index: int = -1, started: datetime = NOW) -> TaskState:
    return TaskState(task_id, index, state, started if state else None, None)


def deploy(*tasks: TaskState, left: dict[tuple[str, str], Any] | None = None, **changed: Any) -> ActiveRun:
    """A deploy of v2 to green that began two minutes ago."""
    about: dict[str, Any] = {
        "conf": {"ref": "v2"},
        "since": ago(minutes=2),
        "by": "alice",
        "state": "running",
    }
    found = {
        ("resolve_ref", "return_value"): NEW,
        ("resolve_ref", "commit"): "Fix the cart",
        ("provision_check", "plan"): {"live": "blue", "idle": "green"},
    } | (left or {})
    about |= {"left": {key: Left(value, ago(seconds=30)) for key, value in found.items()}, "tasks": tasks}
    return ActiveRun("bluegreen_deploy__shop", "manual__3", **about | changed)


def test_the_steps_in_the_order_of_a_deploy_without_those_that_it_leaves_out() -> None:
    view = run_view(
        deploy(
            task("report", None),
            task("deploy", "success", 0),
            task("deploy", "running", 1),
            task("hook_of_ours", started=ago(minutes=1)),
            task("check", "skipped"),
            task("resolve_ref"),
            task("build"),
        )
    )
    assert [(one.task_id, one.state, one.count) for one in view.steps] == [
        ("resolve_ref", "success", ""),
        ("build", "success", ""),
        ("deploy", "running", "1 of 2"),
        ("report", "to come", ""),
        ("hook_of_ours", "success", ""),
    ]
    assert (view.subject, view.by, view.commit, view.done) == ("deploy of v2", "alice", "Fix the cart", 3)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("success", "failed", "running"), "failed"),
        (("success", "success"), "success"),
        (("success", None), "running"),
        ((None, None), "to come"),
        (("queued", "success"), "queued"),
    ],
)
def test_a_mapped_task_is_as_far_as_its_slowest_and_as_bad_as_its_worst(states: Any, state: str) -> None:
    [step] = run_view(deploy(*(task("deploy", one, index) for index, one in enumerate(states)))).steps
    assert step.state == state


def baking(points: Any, **about: Any) -> RunView:
    value = {"began": 0.0, "ends": NOW.timestamp(), "reverts_at": NOW.timestamp() + 60, "points": points}
    left = {("switch_traffic", "return_value"): SWITCHED, ("final_validation", "progress"): value}
    return run_view(deploy(task("final_validation", "running"), left=left, **about))


def bake_of(view: RunView) -> Bake:
    assert view.bake is not None
    return view.bake


def test_the_bake_as_a_curve_with_the_time_until_the_proxies_take_it_back() -> None:
    view = baking([[5.0, 500, 0], [10.0, 1500, 5], [15.0, 2000, 5]])
    bake = bake_of(view)
    assert (bake.requests, bake.failed, bake.ends) == (2000, 5, NOW)
    assert bake.curve == "0.0,20.0 100.0,0.0 200.0,20.0"
    assert bake.errors == "0.0,40.0 100.0,39.8 200.0,40.0"
    assert view.switched == ago(seconds=30)
    assert view.reverts_at is not None
    assert (view.reverts_at - NOW).total_seconds() == 60


@pytest.mark.parametrize(
    "points",
    [None, 7, [], [[1.0]], [["a", 1, 1]], [[1.0, -1, 0]], [[5.0, 1, 0], [5.0, 2, 0]], [[1e99, 1, 1]]],
)
def test_a_curve_that_is_none_is_no_error(points: Any) -> None:
    assert bake_of(baking(points)).curve == ""


@pytest.mark.parametrize("progress", [None, 7, "x", [], {}, {"ends": "soon", "reverts_at": float("inf")}])
def test_a_progress_that_cannot_be_read_is_left_out(progress: Any) -> None:
    view = run_view(deploy(left={("final_validation", "progress"): progress}))
    assert (view.reverts_at, view.bake.requests if view.bake else 0) == (None, 0)


@pytest.mark.parametrize("end", ["confirm", "rollback"])
def test_after_its_end_a_switch_is_not_taken_back(end: str) -> None:
    left = {
        ("final_validation", "progress"): {"reverts_at": 7.0},
        ("switch_traffic", "return_value"): SWITCHED,
    }
    view = run_view(deploy(task(end), task("report", "running"), left=left))
    assert (view.switched, view.reverts_at, view.bake) == (None, None, None)


def test_an_approval_that_is_waited_for() -> None:
    asked = Question("approval", "Switch v2 live?", ago(minutes=1))
    view = run_view(deploy(task("approval", "awaiting_input"), question=asked))
    assert (view.waits_for, view.waits_in, view.waits_since) == (
        "Switch v2 live?",
        "approval",
        ago(minutes=1),
    )


@pytest.mark.parametrize("conf", [None, 7, [], {}, {"ref": 7}, {"ref": None}])
def test_a_run_with_any_configuration_is_shown(conf: Any) -> None:
    assert run_view(deploy(conf=conf)).subject == "deploy"


def test_a_color_that_is_deployed_to_and_then_live_and_not_confirmed() -> None:
    before = app_view(shop(first_deploy(), active=[deploy()]), NOW)
    assert (before.traffic.live, before.colors[1].note) == ("blue", "a deploy is at work here")
    left = {("switch_traffic", "return_value"): SWITCHED}
    after = app_view(shop(first_deploy(), active=[deploy(left=left)]), NOW)
    green = after.colors[1]
    assert (after.traffic.live, green.is_live, green.revision, green.commit, green.note) == (
        *("green", True, NEW),
        *("Fix the cart", "not confirmed yet"),
    )
    assert (after.colors[0].is_live, after.colors[0].revision) == (False, OLD)


@pytest.mark.parametrize(
    ("left", "live"),
    [
        ({("rollback", "return_value"): {"live": "blue"}}, "blue"),
        ({("switch_traffic", "return_value"): {"lb-1": {"to": "green"}, "lb-2": {"to": "blue"}}}, "blue"),
        ({("switch_traffic", "return_value"): {"lb-1": {"to": "red"}}}, "blue"),
        ({("switch_traffic", "return_value"): 7}, "blue"),
        ({("rollback", "return_value"): [], ("switch_traffic", "return_value"): SWITCHED}, "blue"),
    ],
)
def test_traffic_that_a_run_has_moved_or_taken_back(left: Any, live: str) -> None:
    records = shop(first_deploy(), active=[deploy(left=left)])
    assert app_view(records, NOW).traffic.live == live


def test_a_status_that_is_at_work_is_no_change() -> None:
    status = ActiveRun("bluegreen_status__shop", "manual__9", "running", NOW, "alice")
    assert app_view(shop(active=[status]), NOW).at_work == ()
