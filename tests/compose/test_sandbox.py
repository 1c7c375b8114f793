"""The whole demo in containers: deploys under load while parts of the stack come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import ROOT, UP_SECONDS, Compose, up
from tests.compose.world import World

pytestmark = pytest.mark.timeout(1200)

FIGURES = ROOT / "build" / "compose.json"
# Seconds; deploys by LocalExecutor take 12 at most in the demo, on a machine that does nothing else.
OVERHEAD_ON_CELERY = 20


@pytest.fixture(scope="module")
def world(project: Compose) -> Iterator[World]:
    """The stack with the profile `sandbox`, and a first release live."""
    with up(project, "sandbox"):
        world = World(project)
        live(world, "v1")
        yield world


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured; written to a file at the end."""
    measured: dict[str, Any] = {}
    yield measured
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(measured, indent=2) + "\n")


def live(world: World, ref: str) -> dict[str, float]:
    """Deploy a release, see it live, and return what that took."""
    run = world.deploy(ref)
    report = world.report(run)
    assert report["outcome"] in ("live and confirmed", "already live"), report
    assert world.live_ref() == ref
    return world.measured(run) if report["outcome"] == "live and confirmed" else {}


def test_ci_deploys_to_the_sandbox_and_a_browser_on_the_host_sees_it(
    world: World, figures: dict[str, Any]
) -> None:
    figures["local"] = live(world, "v2")
    figures["memory"] = world.memory()


def test_no_request_fails_and_no_run_is_lost_while_each_container_is_restarted(
    world: World, tmp_path: Path
) -> None:
    with world.clients(tmp_path) as seen:
        for service in ("apiserver", "dag-processor", "scheduler", "postgres"):
            run = world.deploy(world.other_ref())
            world.wait_for_task(run, "deploy", ("running", "success"))
            world.compose.run("restart", service, seconds=120)
            assert world.report(run).get("outcome"), f"{service}: {run.run_id}"
            world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
            live(world, world.other_ref())
    assert seen["failed"] == 0, seen
    assert seen["requests"] > 1000


def test_celery_runs_deploys_too_and_the_load_balancer_gives_back_what_a_dead_worker_switched(
    world: World, figures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTOR", "CeleryExecutor")
    world.compose.run(
        "--profile", "celery", "--profile", "sandbox", "up", "--detach", "--wait", seconds=UP_SECONDS
    )
    live(world, world.other_ref())
    figures["celery"] = live(world, world.other_ref())
    figures["memory on Celery"] = world.memory()
    assert figures["celery"]["overhead"] < OVERHEAD_ON_CELERY
    with world.clients(tmp_path) as seen:
        before, run = world.live_ref(), world.deploy(world.other_ref())
        world.wait_for_task(run, "final_validation", ("running",))
        assert world.live_ref() != before
        # The worker with all its tasks; the engine starts another one.
        ended = world.compose.containers()["worker"]["State"]["Pid"]
        os.kill(ended, signal.SIGKILL)
        report = world.report(run)
        assert world.live_ref() == before, report
        live(world, world.other_ref())
    assert seen["failed"] == 0, seen


def test_a_stack_that_was_taken_down_knows_its_history_when_it_is_up_again(world: World) -> None:
    runs = history(world)
    world.compose.run("--profile", "*", "down", "--timeout", "10", seconds=120)
    world.compose.run("--profile", "sandbox", "up", "--detach", "--wait", seconds=UP_SECONDS)
    assert runs <= history(world)
    live(world, "v1")


def test_a_new_image_takes_over_in_the_middle_of_a_deploy(world: World, tmp_path: Path) -> None:
    runs, before = history(world), image_id()
    (world.compose.directory / "include" / "upgraded").touch()
    with world.clients(tmp_path) as seen:
        run = world.deploy(world.other_ref())
        world.wait_for_task(run, "deploy", ("running", "success"))
        world.compose.run("build", "scheduler", seconds=120)
        world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
        assert world.report(run).get("outcome")
        live(world, world.other_ref())
    assert image_id() != before
    assert {one["Image"] for name, one in world.compose.containers().items() if name == "scheduler"} == {
        image_id()
    }
    assert runs | {run.run_id} <= history(world)
    assert seen["failed"] == 0, seen


def history(world: World) -> set[str]:
    """Return the ids of all runs that Airflow knows."""
    return {run["dag_run_id"] for run in world.client.items("dags/~/dagRuns", "dag_runs")}


def image_id() -> str:
    """Return the engine's name of the image."""
    shown = ["docker", "image", "inspect", "--format", "{{.Id}}", "bluegreen-airflow"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
