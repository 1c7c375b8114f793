"""All of the stack: workers of their own, the sandbox beside them, and what each container may."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.errors import ApiError
from tests.compose import whole
from tests.compose.conftest import UP_SECONDS, Compose, memory, up
from tests.compose.second_host import FIRST, SECOND, with_a_store, worker_on_a_second_host
from tests.compose.world import RUN_SECONDS, World, hosts_of, live, upgrade

pytestmark = pytest.mark.timeout(1200)

DRY_RUN = "bluegreen_dry_run__sandbox_app"
SERVICES = {
    "postgres",
    "init",
    "apiserver",
    "scheduler",
    "dag-processor",
    "redis",
    "worker",
    "sandbox",
    "fleet",
}
# What an image has for certain, so that whoever finds nothing has searched.
CONTROL = {
    "bluegreen-airflow": "could not be made; the lines above say why",
    "bluegreen-sandbox": "so Airflow cannot reach",
}


@pytest.fixture(scope="module")
def celery(project: Compose) -> Iterator[Compose]:
    """The stack with the profile `celery`."""
    with up(project, COMPOSE_PROFILES="celery", EXECUTOR="CeleryExecutor"):
        yield project


@pytest.fixture(scope="module")
def world(celery: Compose) -> World:
    """The same with the profile `sandbox` as well, and a first release live."""
    celery.set(COMPOSE_PROFILES="celery,sandbox")
    celery.run("up", "--detach", "--wait", "--build", seconds=UP_SECONDS)
    world = World(celery)
    live(world, "v1")
    return world


def test_workers_take_this_much_before_the_first_deploy(celery: Compose, figures: dict[str, Any]) -> None:
    assert set(celery.containers()) == {
        "postgres",
        "apiserver",
        "scheduler",
        "dag-processor",
        "redis",
        "worker",
    }
    figures["idle memory on Celery"] = memory()


def test_no_container_runs_as_root_but_the_sandbox(world: World) -> None:
    users = whole.users(world.compose)
    assert set(users) == SERVICES
    assert {service for service, user in users.items() if user in ("0", "root")} == {"sandbox"}
    for service in SERVICES - {"init", "sandbox"}:
        assert world.compose.run("exec", service, "id", "-u").stdout.strip() == users[service], service


def test_only_the_user_interface_and_the_sandbox_app_are_published_on_loopback(world: World) -> None:
    assert whole.published(world.compose) == {
        ("apiserver", "8080/tcp", "127.0.0.1", "8080"),
        ("fleet", "8081/tcp", "127.0.0.1", "8081"),
    }


def test_every_container_has_limits_comes_back_and_keeps_its_log_small(world: World) -> None:
    for service, one in world.compose.containers("--all").items():
        host = one["HostConfig"]
        assert host["Memory"] > 0, service
        assert host["RestartPolicy"]["Name"] == ("no" if service == "init" else "unless-stopped"), service
        assert {"max-size", "max-file"} <= set(host["LogConfig"]["Config"]), service
        assert not host["Privileged"], service
        assert host["CapDrop"] == ["ALL"], service
        assert bool(host["CapAdd"]) == (service == "sandbox"), service
        assert host["ReadonlyRootfs"] == (service != "sandbox"), service


def test_whoever_needs_no_database_and_no_queue_does_not_reach_them(world: World) -> None:
    reached = {
        (service, other)
        for service in ("apiserver", "scheduler", "dag-processor", "worker", "fleet", "redis", "postgres")
        for other, port in (("postgres", 5432), ("redis", 6379))
        if service != other and whole.reaches(world.compose, service, other, port)
    }
    assert reached == {
        ("apiserver", "postgres"),
        ("scheduler", "postgres"),
        ("dag-processor", "postgres"),
        ("scheduler", "redis"),
        ("worker", "redis"),
    }


def test_no_secret_is_in_what_the_engine_shows_or_in_a_layer_of_an_image(
    world: World, tmp_path: Path
) -> None:
    shown, secrets = whole.shown(world.compose), whole.secrets(world.compose)
    assert len(secrets) > 10
    for image, control in CONTROL.items():
        told = shown + whole.history(image)
        assert not {name for name, value in secrets.items() if value in told}
        found = whole.found_in_layers(image, {**secrets, "control": control}, tmp_path)
        assert found == {"control"}, image


def test_ci_s_user_may_neither_provision_nor_roll_back(world: World) -> None:
    for dag in ("provision", "rollback", "dry_run"):
        with pytest.raises(ApiError) as refused:
            world.ci.trigger(f"bluegreen_{dag}__sandbox_app")
        assert refused.value.status == 403, dag


def test_celery_runs_deploys_too_and_the_proxy_gives_back_what_a_dead_worker_switched(
    world: World, figures: dict[str, Any], tmp_path: Path
) -> None:
    live(world, "v2")
    figures["celery"] = live(world, "v1")
    figures["memory after deploys on Celery"] = memory()
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


def test_no_request_fails_while_redis_workers_and_the_way_to_the_fleet_are_restarted(
    world: World, tmp_path: Path
) -> None:
    with world.clients(tmp_path) as seen:
        for service in ("worker", "redis", "fleet"):
            ref = world.other_ref()
            run = world.deploy(ref)
            world.wait_for_task(run, "deploy", ("running", "success"))
            world.compose.run("restart", service, seconds=120)
            report = world.report(run)
            assert report.get("outcome") == "live and confirmed", f"{service}: {report}"
            world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
            assert world.live_ref() == ref
    assert seen["failed"] == 0, seen
    assert seen["requests"] > 1000


def test_a_new_image_takes_over_from_workers_in_the_middle_of_a_deploy(world: World, tmp_path: Path) -> None:
    upgrade(world, tmp_path)


def test_two_workers_share_what_one_of_them_has_fetched_and_built(world: World) -> None:
    world.compose.run("up", "--detach", "--wait", "--scale", "worker=2", seconds=UP_SECONDS)
    try:
        # Each needs its source, and an artifact of its own, more than once.
        for ref in ("v1", "v2"):
            run = world.deploy(ref)
            report = world.report(run)
            assert report["outcome"] in ("live and confirmed", "already live"), report
        assert len(hosts_of(world, run)) == 2
        kept = "ls /opt/airflow/cache/artifacts/sandbox_app /opt/airflow/cache/repositories"
        seen = {
            world.compose.run("exec", "-T", "--index", index, "worker", "sh", "-c", kept).stdout
            for index in ("1", "2")
        }
        assert len(seen) == 1
    finally:
        world.compose.run("up", "--detach", "--wait", "--scale", "worker=1", seconds=UP_SECONDS)


def test_a_worker_on_a_second_host_runs_deploys_and_its_logs_can_be_read(
    world: World, tmp_path: Path
) -> None:
    with worker_on_a_second_host(world.compose, tmp_path) as second:
        assert set(second.containers("--all")) == {"worker"}
        assert {place[2] for place in whole.published(world.compose)} == {"127.0.0.1", FIRST}
        # Its artifacts would be its own.
        asked = world.client.trigger(DRY_RUN)
        assert world.client.wait(asked, RUN_SECONDS) == "failed"
        refused = world.deploy(world.other_ref())
        assert world.report(refused)["outcome"] == "refused before the switch"
        for each in (asked, refused):
            assert "set artifacts.store to an object store" in world.client.last_line(each), each
        with_a_store(second, "/opt/airflow/cache/mounted")
        run = world.deploy(world.other_ref())
        report = world.report(run)
        assert report["outcome"] == "live and confirmed", report
        assert hosts_of(world, run) == {SECOND}
        task = next(task for task in world.client.tasks(run) if task.task_id == "switch_traffic")
        log = world.client.log(run, task)
        assert "traffic moved to" in log, log
