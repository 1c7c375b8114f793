"""The demo's four deploys under load, and what is measured of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from demo.client import AirflowClient, Run, Task
from demo.environment import DemoEnvironment
from demo.errors import DemoError
from demo.progress import Ended, show
from demo.report import EXPECTED, Deploy
from demo.world import World
from sandbox.traffic_records import read

RUN_SECONDS = 180
PROVISION_SECONDS = 300

# Airflow, droplets and clients share one machine here: no more requests a second than are needed.
REQUESTS_PER_SECOND = 250
# Quiet seconds between two deploys: what latencies are compared with, and whatever comes late is seen.
PAUSE_SECONDS = 3.0
MIN_REQUESTS = 20_000
LONGEST_SOAK_SECONDS = 120


class Deploys:
    """Runs the deploys one after the other.

    :param say: prints a line.
    """

    def __init__(
        self,
        world: World,
        environment: DemoEnvironment,
        client: AirflowClient,
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._environment = environment
        self._client = client
        self._say = say
        self._traffic_started = False

    def provision(self) -> None:
        """Create the fleet.

        :raises DemoError: with the run's last line, if that fails.
        """
        run = self._client.trigger(self._environment.dag_id("provision"))
        if show(self._client, run, self._say, PROVISION_SECONDS).state != "success":
            raise DemoError(f"there is no fleet: {self._client.last_line(run)}")

    def run(self) -> list[Deploy]:
        """Deploy every release; clients ask from when the first is live until there are enough requests.

        :raises DemoError: if a run does not end, or the clients do.
        """
        done = []
        for expected in EXPECTED:
            done.append(self._deploy(expected.ref))
            if not self._traffic_started:
                raise DemoError(f"nothing is live after the first deploy: {done[0].outcome}")
            time.sleep(PAUSE_SECONDS)
        self._soak()
        self._world.stop_traffic()
        return done

    def _deploy(self, ref: str) -> Deploy:
        run = self._client.trigger(self._environment.dag_id("deploy"), {"ref": ref})
        ended = show(self._client, run, self._say, RUN_SECONDS, self._start_traffic_when_live)
        if self._traffic_started:
            self._world.check_traffic()
        return self._measured(ref, run, ended)

    def _start_traffic_when_live(self, task: Task) -> None:
        if not self._traffic_started and task.task_id == "switch_traffic" and task.state == "success":
            self._traffic_started = True
            self._world.start_traffic(self._environment.proxy_url(), REQUESTS_PER_SECOND)

    def _measured(self, ref: str, run: Run, ended: Ended) -> Deploy:
        client = self._client
        report: dict[str, Any] = client.xcom(run, "report", "report") or {}
        switches = list((client.xcom(run, "switch_traffic") or {}).values())
        moved = [switch for switch in switches if switch["at"] is not None]
        tasks = client.tasks(run)
        return Deploy(
            ref=ref,
            revision=self._environment.revisions[ref],
            run_id=run.run_id,
            state=ended.state,
            outcome=report.get("outcome", "unknown"),
            live=report.get("live"),
            triggered=run.triggered,
            ended=ended.at,
            switched=max((switch["at"] for switch in moved), default=None),
            switch_ms=max((switch["milliseconds"] for switch in moved), default=None),
            job_seconds=self._build_seconds(run)
            + max((self._job_seconds(run, task) for task in tasks), default=0.0),
            bake_seconds=sum(self._bake_seconds(run, task) for task in tasks),
        )

    def _build_seconds(self, run: Run) -> float:
        """Return how long the builder's job took; nothing if the artifact was there, or the build failed."""
        return float(self._client.xcom(run, "build", "job_seconds") or 0.0)

    def _job_seconds(self, run: Run, task: Task) -> float:
        """Return how long a droplet's job took; a failed task has no such figure, so its own time counts."""
        if task.task_id != "deploy":
            return 0.0
        result = self._client.xcom(run, "deploy", map_index=task.map_index)
        return float(result["job_seconds"]) if result else task.seconds

    def _bake_seconds(self, run: Run, task: Task) -> float:
        if task.task_id != "final_validation":
            return 0.0
        result = self._client.xcom(run, "final_validation")
        return float(result["bake_seconds"]) if result else task.seconds

    def _soak(self) -> None:
        """Wait until clients have asked often enough for the numbers to mean something."""
        deadline = time.monotonic() + LONGEST_SOAK_SECONDS
        while len(read(self._world.records)) < MIN_REQUESTS and time.monotonic() < deadline:
            self._world.check_traffic()
            time.sleep(1)
