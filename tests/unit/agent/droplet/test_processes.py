"""Processes and timers on a droplet: exactly what is asked for runs, now and after a restart."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent.droplet import process_states
from agent.droplet import processes as step
from agent.protocol import AgentError
from tests.unit.agent.droplet.local_processes import APP, ProcessDroplet, process_text, units_of

WORKERS = {f"{APP}-worker@1.service", f"{APP}-worker@2.service"}
TIMER = f"{APP}-cleanup.timer"
STRIDE = 1 if os.environ.get("CHAOS") == "whole" else 31
# A call has more lines than this.
AT_LEAST = 60
PLACES = tuple(f"/droplet/{name}.py" for name in ("processes", "process_units", "process_states"))


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessDroplet:
    monkeypatch.setattr(step, "PAUSE", 0)
    monkeypatch.setattr(step, "KILL_WAIT", 0.1)
    return ProcessDroplet(tmp_path, monkeypatch)


def test_what_is_asked_for_runs_and_starts_with_the_droplet(droplet: ProcessDroplet) -> None:
    records = droplet.processes("worker", "cleanup")
    assert droplet.up == droplet.enabled == {*WORKERS, TIMER}
    assert [(one["name"], one["unit"], one["kind"], one["droplets"]) for one in records] == [
        ("cleanup", TIMER, "timer", "one"),
        ("worker", f"{APP}-worker@1.service", "process", "all"),
        ("worker", f"{APP}-worker@2.service", "process", "all"),
    ]
    assert [one["state"] for one in records] == ["waiting", "running", "running"]
    assert {one["release"] for one in records} == {droplet.active}
    assert all(one["enabled"] for one in records)
    droplet.restart()
    assert droplet.up == {*WORKERS, TIMER}


def test_what_is_not_asked_for_is_stopped_before_anything_starts(droplet: ProcessDroplet) -> None:
    droplet.processes("cleanup")
    droplet.processes("worker")
    assert droplet.up == droplet.enabled == WORKERS
    told = [line for line in droplet.told if line.startswith(("stop", "start"))]
    assert told[1:] == [f"stop --no-block -- {TIMER}", f"start -- {' '.join(sorted(WORKERS))}"]


def test_what_goes_on_starts_with_the_droplet_all_the_time(droplet: ProcessDroplet) -> None:
    droplet.processes("worker", "cleanup")
    droplet.processes("worker")
    assert set((droplet.path / "enabled-at-stop").read_text().split()) >= WORKERS


def test_none_is_left_when_none_is_asked_for(droplet: ProcessDroplet) -> None:
    droplet.processes("worker", "cleanup")
    droplet.put_unit(f"{APP}-cleanup.service", "activating start")
    records = droplet.processes()
    assert (droplet.up, droplet.enabled) == (set(), set())
    assert {one["state"] for one in records} == {"stopped"}
    # A timer starts nothing while what it would start is being stopped.
    stops = [line for line in droplet.told if line.startswith("stop")]
    assert stops[0] == f"stop --no-block -- {TIMER}"
    # A droplet that loses power while they stop does not start them again.
    assert (droplet.path / "enabled-at-stop").read_text().count(APP) == 0


def test_what_is_up_stays_up_and_is_not_started_again(droplet: ProcessDroplet) -> None:
    droplet.processes("worker", "cleanup")
    (droplet.path / "said").unlink()
    droplet.processes("worker", "cleanup")
    assert not [line for line in droplet.told if not line.startswith(("list-units", "show"))]


def test_the_last_work_of_a_process_is_waited_for(droplet: ProcessDroplet) -> None:
    droplet.processes("worker")
    (droplet.path / f"slow/{APP}-worker@1.service").write_text("4\n")
    droplet.processes("cleanup")
    assert droplet.up == {TIMER}
    looks = droplet.told[droplet.told.index(f"stop --no-block -- {' '.join(sorted(WORKERS))}") :]
    assert looks.index(f"start -- {TIMER}") > 4


def test_what_is_left_of_another_release_is_stopped_too(droplet: ProcessDroplet) -> None:
    """A unit file that a hand has removed, a link without a unit, an instance beyond the count."""
    others = {f"{APP}-gone@1.service", f"{APP}-old.timer", f"{APP}-worker@3.service"}
    for one in (*others, f"{APP}-old.service"):
        droplet.put_unit(one)
    droplet.files.enable([*others, f"{APP}-lost@7.service"])
    before = {one["unit"]: one for one in droplet.states.records()}
    assert {unit for unit, one in before.items() if one["droplets"] is None} == {
        *others,
        f"{APP}-lost@7.service",
    }
    assert (before[f"{APP}-gone@1.service"]["name"], before[f"{APP}-gone@1.service"]["state"]) == (
        "gone",
        "running",
    )
    droplet.processes("worker")
    assert droplet.up == droplet.enabled == WORKERS


def test_what_is_started_while_others_end_is_stopped_too(droplet: ProcessDroplet) -> None:
    droplet.processes("worker")
    late = f"{APP}-cleanup.service"
    (droplet.path / f"slow/{APP}-worker@1.service").write_text("3\n")
    # Systemd starts it when it is asked for the second time.
    (droplet.path / "late").write_text(f"2 {late}\n")
    droplet.processes()
    assert not (droplet.path / "late").exists()
    assert droplet.up == set()


def test_another_app_s_processes_are_left_alone(droplet: ProcessDroplet) -> None:
    others = {"app-shop_2-worker@1.service", "app-shopping.service", "app-other-worker@1.service"}
    for one in others:
        droplet.put_unit(one)
    (droplet.app.paths.units / "app-shop_2-worker@.service").write_text("another app's\n")
    droplet.populate("0::/system.slice/app-shop_2-worker@1.service")
    droplet.processes()
    assert droplet.up == others
    droplet.files.replace({})
    assert (droplet.app.paths.units / "app-shop_2-worker@.service").exists()


@pytest.mark.parametrize(
    "cgroup",
    [
        rf"0::/system.slice/system-app\x2dshop\x2dworker.slice/{APP}-worker@1.service",
        rf"1:name=systemd:/x/system-app\x2dshop\x2dworker.slice/{APP}-worker@1.service/child",
    ],
)
def test_a_process_that_nothing_can_kill_is_in_the_way_of_all(droplet: ProcessDroplet, cgroup: str) -> None:
    droplet.populate(cgroup)
    refusal = droplet.refusal("cleanup")
    assert refusal.startswith("worker@1 cannot be stopped, not even by SIGKILL; see `systemctl status app-")
    assert (droplet.up, droplet.enabled) == (set(), set())


def test_a_unit_that_does_not_end_is_not_waited_for_longer_than_its_limit(
    droplet: ProcessDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    droplet.processes("worker")
    (droplet.path / f"stuck/{APP}-worker@2.service").touch()
    monkeypatch.setattr(step, "LONGEST_STOP", 0)
    monkeypatch.setattr(step, "STOP_SPARE", 0.2)
    assert droplet.refusal().startswith("worker@2 cannot be stopped")
    # Whatever becomes of it, it does not start again.
    assert droplet.enabled == set()


def test_a_process_that_does_not_stay_up_is_reported_with_its_last_words(droplet: ProcessDroplet) -> None:
    (droplet.path / f"crashing/{APP}-worker@2.service").touch()
    droplet.program("journalctl", "#!/bin/sh\n[ $1 = --sync ] || echo 'no queue at 10.0.0.5'\n")
    assert droplet.refusal("worker", "cleanup") == "worker@2 does not stay up: no queue at 10.0.0.5"
    # The others go on, and systemd goes on trying.
    assert droplet.up == droplet.enabled == {*WORKERS, TIMER}


def test_systemd_forgets_a_timer_that_was_stopped_so_that_it_does_not_fire_when_it_comes_back(
    droplet: ProcessDroplet,
) -> None:
    droplet.processes("cleanup")
    droplet.processes()
    told = droplet.told
    last_stop = max(place for place, line in enumerate(told) if line.startswith("stop"))
    assert any(line.startswith("daemon-reload") for line in told[last_stop:])


def test_a_droplet_that_never_had_a_release_runs_none(droplet: ProcessDroplet) -> None:
    droplet.files.replace({})
    droplet.unit.unlink()
    shutil.rmtree(droplet.app.root)
    assert droplet.processes() == []


@pytest.mark.parametrize("name", ["gone", "worker@1", "", "../worker", "app-shop-worker"])
def test_a_name_that_the_release_has_not_is_refused(droplet: ProcessDroplet, name: str) -> None:
    droplet.processes("worker")
    assert droplet.refusal(name).endswith("is no process or timer of the release that is activated here")
    assert droplet.up == WORKERS


def test_units_of_another_release_than_the_web_server_s_are_not_started(droplet: ProcessDroplet) -> None:
    droplet.unit.write_text(f"WorkingDirectory=/opt/{APP}/releases/{'c' * 40}-{'c' * 16}\n")
    assert "are of two releases; deploy it again" in droplet.refusal("worker")
    assert (droplet.up, droplet.enabled) == (set(), set())
    droplet.processes()


def test_a_later_run_keeps_an_earlier_one_from_starting_or_stopping_anything(droplet: ProcessDroplet) -> None:
    droplet.processes("worker")
    droplet.claimed_by(8)
    assert droplet.refusal() == "another run has claimed this droplet; no process was stopped"
    assert droplet.up == droplet.enabled == WORKERS


def test_a_systemd_that_does_not_answer_is_reported(
    droplet: ProcessDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_states, "SYSTEMD_WAIT", 0.1)
    (droplet.path / "broken").write_text("1\n")
    assert droplet.refusal("worker").startswith("systemd does not say what runs of app-shop")
    assert droplet.up == set()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("active running", "running"),
        ("activating start", "starting"),
        ("activating auto-restart", "restarting"),
        ("deactivating stop-sigterm", "stopping"),
        ("failed failed", "failed"),
    ],
)
def test_a_state_has_one_word(droplet: ProcessDroplet, state: str, expected: str) -> None:
    droplet.put_unit(f"{APP}-worker@1.service", state)
    droplet.put_unit(TIMER, "active waiting")
    droplet.put_unit(f"{APP}-cleanup.service", state)
    for unit in (f"{APP}-worker@1.service", f"{APP}-cleanup.service"):
        (droplet.path / "slow" / unit).write_text("9\n")
    found = {one["unit"]: one["state"] for one in droplet.states.records()}
    assert found[f"{APP}-worker@1.service"] == expected
    of_timer = {"running": "running", "starting": "running", "stopping": "stopping"}
    assert found[TIMER] == of_timer.get(expected, "waiting")


@pytest.mark.parametrize(
    ("process", "timer", "command", "expected"),
    [
        ("active running", "active waiting", "inactive dead", {"worker", "cleanup"}),
        ("activating start", "active running", "activating start", {"cleanup"}),
        ("activating auto-restart", "inactive dead", "activating start", set()),
        ("failed failed", "failed failed", "inactive dead", set()),
        ("deactivating stop-sigterm", "active running", "deactivating stop-post", {"cleanup"}),
        ("inactive dead", "active elapsed", "failed failed", {"cleanup"}),
    ],
)
def test_only_what_runs_and_a_timer_that_is_armed_is_up(
    droplet: ProcessDroplet, process: str, timer: str, command: str, expected: set[str]
) -> None:
    units = {f"{APP}-worker@1.service": process, TIMER: timer, f"{APP}-cleanup.service": command}
    for unit, state in units.items():
        droplet.put_unit(unit, state)
        (droplet.path / "slow" / unit).write_text("9\n")
    found = {one["name"] for one in droplet.states.records() if one["up"]}
    assert found == expected


def test_a_process_that_was_started_a_moment_ago_is_not_up_yet(
    droplet: ProcessDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    droplet.processes("worker")
    assert {one["up"] for one in droplet.states.records() if one["name"] == "worker"} == {True}
    monkeypatch.setattr(process_states, "STAYS_UP", time.monotonic() + 3600)
    assert {one["up"] for one in droplet.states.records() if one["name"] == "worker"} == {False}


def test_a_timer_whose_command_is_about_to_end_is_as_it_should_be(droplet: ProcessDroplet) -> None:
    droplet.processes("cleanup")
    droplet.put_unit(f"{APP}-cleanup.service", "deactivating stop-post")
    (droplet.path / f"slow/{APP}-cleanup.service").write_text("9\n")
    assert {one["name"]: one["state"] for one in droplet.processes("cleanup")}["cleanup"] == "stopping"


def kill_at(line: int) -> Any:
    passed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        if not frame.f_code.co_filename.endswith(PLACES):
            return None
        passed += event == "line"
        if passed == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def killed_at_any_line(droplet: ProcessDroplet, *run: str) -> Iterator[None]:
    """Let a call be killed at one line after the other, until it ends before it is killed."""
    before = droplet.path.with_name("before")
    shutil.copytree(droplet.path, before, symlinks=True)
    for line in count(1, STRIDE):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                sys.settrace(kill_at(line))
                droplet.processes(*run)
            except AgentError:
                pass
            finally:
                os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            assert line > AT_LEAST, "it was killed nowhere"
            return
        yield
        shutil.rmtree(droplet.path)
        shutil.copytree(before, droplet.path, symlinks=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("run", [(), ("worker",)])
def test_a_call_killed_at_any_line_starts_nothing_else_and_is_finished_by_the_next(
    droplet: ProcessDroplet, run: tuple[str, ...]
) -> None:
    droplet.processes("cleanup")
    wanted = {unit for name in run for unit in droplet.files.known()[name].units}
    for number, _ in enumerate(killed_at_any_line(droplet, *run)):
        assert droplet.enabled <= {*wanted, TIMER}
        if number % 2:
            was_enabled = droplet.enabled
            droplet.restart()
            assert droplet.up == was_enabled
        droplet.processes(*run)
        assert droplet.up == droplet.enabled == wanted


def test_a_lower_count_stops_the_instances_beyond_it(droplet: ProcessDroplet) -> None:
    droplet.processes("worker")
    droplet.files.replace(
        {**units_of(droplet.active), f"{APP}-worker@.service": process_text(droplet.active)}
    )
    droplet.processes("worker")
    assert droplet.up == droplet.enabled == {f"{APP}-worker@1.service"}
