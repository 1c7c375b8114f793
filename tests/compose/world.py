"""The stack with its sandbox: deploys by REST, clients of the app, and what both of them saw."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.client import AirflowClient, Run
from demo.errors import DemoError
from tests.compose.conftest import BUILD_SECONDS, ROOT, UP_SECONDS, Compose

URL = "http://127.0.0.1:8080"
DEPLOY = "bluegreen_deploy__sandbox_app"
RUN_SECONDS = 240
# A stopped worker ends its tasks, which tell the API server. Were that stopped before, it would take minutes.
ENDS_SECONDS = 60
# Airflow, its database, machines and clients share two processors here.
REQUESTS_PER_SECOND = 50


@dataclass
class World:
    """The stack, and a client for each of its two users."""

    compose: Compose
    client: AirflowClient = field(init=False)
    ci: AirflowClient = field(init=False)

    def __post_init__(self) -> None:
        """Log nobody in yet."""
        named = self.compose.settings
        self.client = AirflowClient(URL, named["ADMIN_USER"], self.compose.secret("admin_password"))
        self.ci = AirflowClient(URL, named["CI_USER"], self.compose.secret("ci_password"))

    def deploy(self, ref: str) -> Run:
        """Trigger a deploy as CI does."""
        return self.ci.trigger(DEPLOY, {"ref": ref})

    def report(self, run: Run) -> dict[str, Any]:
        """Wait for a run's end, whatever becomes of Airflow meanwhile, and return its report."""
        deadline = time.monotonic() + RUN_SECONDS
        while True:
            try:
                self.client.wait(run, max(deadline - time.monotonic(), 1))
                return dict(self.client.xcom(run, "report", "report") or {})
            except DemoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def wait_for_task(self, run: Run, task_id: str, states: tuple[str, ...]) -> None:
        """Wait until a task is in one of these states."""
        deadline = time.monotonic() + RUN_SECONDS
        while not any(task.task_id == task_id and task.state in states for task in self.client.tasks(run)):
            assert time.monotonic() < deadline, f"{task_id} of {run.run_id} is never {states}"
            time.sleep(0.2)

    def other_ref(self) -> str:
        """Return the one of two good releases that is not live."""
        return "v1" if self.live_ref() == "v2" else "v2"

    def live_ref(self) -> str:
        """Return the release that the app's front page names to a browser on this machine."""
        page = ["curl", "--silent", "--show-error", "--max-time", "10", "http://127.0.0.1:8081/"]
        shown = subprocess.run(page, capture_output=True, text=True, check=True).stdout
        named = re.search(r"My Perl app (v\d\S*?)<", shown)
        assert named, shown
        return named[1]

    @contextmanager
    def clients(self, directory: Path) -> Iterator[dict[str, Any]]:
        """Ask the proxy all the time; the dictionary is filled when the block ends."""
        ran = self.compose.run("exec", "-T", "fleet", "cat", "/proc/1/cmdline").stdout
        address = ran.rpartition("TCP:")[2].partition(":")[0]
        out = directory / "traffic.json"
        command = [sys.executable, "-m", "sandbox", "traffic", "--url", f"http://{address}/"]
        command += ["--rate", str(REQUESTS_PER_SECOND), "--duration", "900", "--out", str(out)]
        judge = subprocess.Popen(command, cwd=ROOT)
        seen: dict[str, Any] = {}
        try:
            yield seen
        finally:
            judge.send_signal(signal.SIGINT)
            judge.wait(60)
        seen |= json.loads(out.read_text())

    def measured(self, run: Run) -> dict[str, float]:
        """Return a deploy's overhead, and the median time from a task's end to the next one's start."""
        shown = self.client.items(f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", "task_instances")
        spans = sorted(
            (datetime.fromisoformat(each["start_date"]), datetime.fromisoformat(each["end_date"]))
            for each in shown
            if each["start_date"] and each["end_date"] and each["state"] == "success"
        )
        gaps = []
        for start, _ in spans[1:]:
            ended = [end for _, end in spans if end <= start]
            if ended:
                gaps.append((start - max(ended)).total_seconds())
        whole = (max(end for _, end in spans) - spans[0][0]).total_seconds()
        jobs = [
            float((self.client.xcom(run, "deploy", map_index=each["map_index"]) or {})["job_seconds"])
            for each in shown
            if each["task_id"] == "deploy"
        ]
        bake = float((self.client.xcom(run, "final_validation") or {})["bake_seconds"])
        built = float(self.client.xcom(run, "build", "job_seconds") or 0.0)
        return {"overhead": whole - built - max(jobs) - bake, "task_to_task": statistics.median(gaps)}


def live(world: World, ref: str) -> dict[str, float]:
    """Deploy a release, see it live, and return what that took."""
    run = world.deploy(ref)
    report = world.report(run)
    assert report["outcome"] in ("live and confirmed", "already live"), report
    assert world.live_ref() == ref
    return world.measured(run) if report["outcome"] == "live and confirmed" else {}


def upgrade(world: World, directory: Path) -> None:
    """Build a new image and let it take over in the middle of a deploy under load."""
    runs, before = history(world), image_id()
    (world.compose.directory / "include" / "upgraded_from").write_text(before)
    with world.clients(directory) as seen:
        run = world.deploy(world.other_ref())
        world.wait_for_task(run, "deploy", ("running", "success"))
        world.compose.run("build", seconds=BUILD_SECONDS)
        run_tasks = {"scheduler", "worker"} & set(world.compose.containers())
        world.compose.run("stop", *run_tasks, seconds=ENDS_SECONDS)
        world.compose.run("up", "--detach", "--wait", seconds=UP_SECONDS)
        assert world.report(run).get("outcome")
        last = world.deploy(world.other_ref())
        assert world.report(last)["outcome"] == "live and confirmed"
        # Artifacts outlive the containers.
        assert world.client.xcom(last, "build", "job_seconds") is None
    assert image_id() != before
    ours = {
        name: one
        for name, one in world.compose.containers().items()
        if "bluegreen-airflow" in one["Config"]["Image"]
    }
    assert {name: one["Image"] for name, one in ours.items()} == dict.fromkeys(ours, image_id())
    assert runs | {run.run_id} <= history(world)
    assert seen["failed"] == 0, seen


def hosts_of(world: World, run: Run) -> set[str]:
    """Return where the tasks of a run were executed."""
    shown = world.client.items(f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", "task_instances")
    return {each["hostname"] for each in shown if each["state"] == "success"}


def history(world: World) -> set[str]:
    """Return the ids of all runs that Airflow knows."""
    return {run["dag_run_id"] for run in world.client.items("dags/~/dagRuns", "dag_runs")}


def image_id() -> str:
    """Return the engine's name of Airflow's image."""
    shown = ["docker", "image", "inspect", "--format", "{{.Id}}", "bluegreen-airflow"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
