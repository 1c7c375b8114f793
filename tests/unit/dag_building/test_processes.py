"""Where a run moves an app's processes: only in DAGs of apps that have some."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG

from bluegreen.operators.move_processes import MoveProcessesOperator
from tests.unit.dag_files import REFERENCE, dags_of

KINDS = ("deploy", "rollback", "provision", "stop_idle")


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    """The DAGs of an app with a worker, of one that has just removed its last worker, and of one without."""
    plain = REFERENCE.read_text(encoding="utf-8").replace("# stop_idle_after: null", "stop_idle_after: 3600")
    worker = plain.replace("# processes: {}", "processes: {worker: {command: [bin/worker]}}")
    removed = plain.replace("# processes: {}", "processes: {}")
    return dags_of(tmp_path, monkeypatch, plain=plain, worker=worker, removed=removed)


def moving(dag: DAG) -> set[str]:
    return {task_id for task_id in dag.task_ids if task_id.endswith("_processes")}


def test_an_app_without_processes_has_no_task_for_them(dags: dict[str, DAG]) -> None:
    assert [moving(dags[f"bluegreen_{kind}__plain"]) for kind in KINDS] == [set()] * len(KINDS)


@pytest.mark.parametrize("app", ["worker", "removed"])
def test_processes_move_in_each_run_that_may_find_or_leave_them_on_the_wrong_color(
    dags: dict[str, DAG], app: str
) -> None:
    assert {kind: moving(dags[f"bluegreen_{kind}__{app}"]) for kind in KINDS} == {
        "deploy": {"settle_processes", "move_processes"},
        "rollback": {"move_processes"},
        "provision": {"settle_processes"},
        "stop_idle": {"settle_processes"},
    }


def test_a_deploy_settles_them_before_it_touches_a_droplet_and_moves_them_once_its_switch_is_kept(
    dags: dict[str, DAG],
) -> None:
    deploy = dags["bluegreen_deploy__worker"]
    settle, move = deploy.get_task("settle_processes"), deploy.get_task("move_processes")
    # Whether there is anything to deploy or not.
    assert settle.upstream_task_ids == {"lock"}
    assert settle.downstream_task_ids == {"build", "report"}
    assert deploy.get_task("build").trigger_rule == settle.trigger_rule == move.trigger_rule == "all_success"
    assert "confirm" in move.upstream_task_ids
    assert move.downstream_task_ids == {"report"}


def test_a_rollback_moves_them_at_its_end_however_it_ended(dags: dict[str, DAG]) -> None:
    move = dags["bluegreen_rollback__worker"].get_task("move_processes")
    assert move.upstream_task_ids == {"confirm", "rollback"}
    assert move.trigger_rule == "all_done"


def test_a_provisioning_settles_them_whether_a_droplet_lacked_its_release_or_not(
    dags: dict[str, DAG],
) -> None:
    settle = dags["bluegreen_provision__worker"].get_task("settle_processes")
    assert "install_release" in settle.upstream_task_ids
    assert settle.trigger_rule == "none_failed"


def test_the_idle_color_is_stopped_once_nothing_of_it_works_any_more(dags: dict[str, DAG]) -> None:
    assert "settle_processes" in dags["bluegreen_stop_idle__worker"].get_task("stop_idle").upstream_task_ids
    # A process that does not stay up keeps neither a better release nor the idle color's end from coming.
    goes_on = {}
    for kind in ("deploy", "stop_idle", "provision"):
        settle = dags[f"bluegreen_{kind}__worker"].get_task("settle_processes")
        assert isinstance(settle, MoveProcessesOperator)
        goes_on[kind] = settle.goes_on
    assert goes_on == {"deploy": True, "stop_idle": True, "provision": False}


def test_processes_follow_traffic_to_a_release_that_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = REFERENCE.read_text(encoding="utf-8").replace("# processes: {}", "processes: {}")
    text = text.replace("# irreversible: refuse", "irreversible: allow")
    text = text.replace("# stop_idle_after: null", "stop_idle_after: 3600")
    deploy = dags_of(tmp_path, monkeypatch, shop=text)["bluegreen_deploy__shop"]
    move, later = deploy.get_task("move_processes"), deploy.get_task("stop_idle_later")
    assert move.upstream_task_ids == {"confirm", "freeze"}
    # One of them is always skipped.
    assert move.trigger_rule == "none_failed_min_one_success"
    # The old release stays warm after a freeze; a release that never got traffic does not.
    assert (later.upstream_task_ids, later.trigger_rule) == ({"confirm", "freeze", "rollback"}, "one_done")
