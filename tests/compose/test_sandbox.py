"""The whole demo in containers: deploys under load while parts of the stack come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import UP_SECONDS, Compose, forget_images, memory, up
from tests.compose.world import World, history, live, upgrade

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def world(project: Compose, figures: dict[str, Any]) -> Iterator[World]:
    """The stack with the profile `sandbox`, and a first release live, as fast as a newcomer has it."""
    forget_images()
    began = time.monotonic()
    with up(project, "--profile", "sandbox", build=()):
        world = World(project)
        live(world, "v1")
        figures["seconds from a clone to a live release"] = round(time.monotonic() - began)
        # What the tests say to Compose from now on means it, too.
        project.set(COMPOSE_PROFILES="sandbox")
        yield world


def test_a_newcomer_has_a_release_live(world: World) -> None:
    assert world.live_ref() == "v1"


def test_ci_deploys_to_the_sandbox_and_a_browser_on_the_host_sees_it(
    world: World, figures: dict[str, Any]
) -> None:
    run = world.deploy("v2")
    world.wait_for_task(run, "final_validation", ("running",))
    figures["memory during a deploy"] = memory()
    assert world.report(run)["outcome"] == "live and confirmed"
    assert world.live_ref() == "v2"
    live(world, "v1")
    figures["local"] = live(world, "v2")
    figures["memory after deploys"] = memory()


def test_no_request_fails_and_no_run_is_lost_while_each_container_is_restarted(
    world: World, tmp_path: Path
) -> None:
    with world.clients(tmp_path) as seen:
        for service in ("apiserver", "dag-processor", "scheduler"):
            ref = world.other_ref()
            run = world.deploy(ref)
            world.wait_for_task(run, "deploy", ("running",))
            world.compose.run("restart", service, seconds=120)
            report = world.report(run)
            assert report.get("outcome") == "live and confirmed", f"{service}: {report}"
            # What runs on a droplet is let end, and not begun again.
            attempts = {task.attempt for task in world.client.tasks(run) if task.task_id == "deploy"}
            assert attempts == {1}, service
            assert world.live_ref() == ref
            world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
    assert seen["failed"] == 0, seen
    assert seen["requests"] > 1000


def test_no_request_fails_and_no_run_is_lost_while_the_database_is_restarted(
    world: World, tmp_path: Path
) -> None:
    with world.clients(tmp_path) as seen:
        run = world.deploy(world.other_ref())
        world.wait_for_task(run, "deploy", ("running",))
        world.compose.run("restart", "postgres", seconds=120)
        assert world.report(run).get("outcome"), run.run_id
        world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
        live(world, world.other_ref())
    assert seen["failed"] == 0, seen


def test_a_stack_that_was_taken_down_knows_its_history_when_it_is_up_again(world: World) -> None:
    runs = history(world)
    world.compose.run("down", "--timeout", "10", seconds=120)
    world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
    assert runs <= history(world)
    live(world, "v1")


def test_a_new_image_takes_over_in_the_middle_of_a_deploy(world: World, tmp_path: Path) -> None:
    upgrade(world, tmp_path)
