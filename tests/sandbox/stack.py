"""A fleet, an Airflow and a traffic judge for tests that deploy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bluegreen.release.system_names import system_name
from demo.airflow import AirflowStack
from demo.airflow_settings import APPROVER
from demo.client import AirflowClient, Run
from demo.environment import APP, DemoEnvironment
from sandbox import Machine, Sandbox
from tests.waiting import until

RUN_SECONDS = 300

# How soon Airflow takes a task, or a scheduler, that says nothing for dead; the defaults are 300 s and 30 s.
NOTICED_SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
}

SYSTEM_NAME = system_name(APP)

# Everything on a droplet that a deploy to the other color must leave alone; not the workers, because Starman
# replaces each of them after 1000 requests. A one-off command is remembered beside the release (`commands`).
_FINGERPRINT = f"""
find /opt/{SYSTEM_NAME} /etc/systemd/system /etc/default /var/lib/bluegreen/{SYSTEM_NAME} \
    \\( -name reserve -o -path "*/{SYSTEM_NAME}/commands" \\) -prune -o -type f \
    -exec sha256sum {{}} + 2>/dev/null | sort
readlink /opt/{SYSTEM_NAME}/current
systemctl show --property=MainPID,ExecMainStartTimestampMonotonic --value {SYSTEM_NAME}
"""
_TRAFFIC_MAP = """
sha256sum /etc/haproxy/haproxy.cfg /etc/haproxy/traffic.map
echo 'show map /etc/haproxy/traffic.map' | socat - /run/haproxy/admin.sock | cut -d' ' -f2-
pgrep -x haproxy | sort
"""


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    :param report: the XCom ``report``: outcome, live, message.
    """

    run: Run
    state: str
    report: dict[str, Any]

    def expect(self, outcome: str) -> Self:
        """Demand how it ended; the report tells why it did not."""
        assert self.report["outcome"] == outcome, self.report["message"]
        return self


@dataclass(frozen=True)
class Judge:
    """Traffic that goes on all the time.

    :param records: its records file.
    """

    records: Path


class Stack:
    """The whole: sandbox, Airflow, and what a test asks of both.

    :param cache: Airflow's directory of mirrors and artifacts.
    """

    def __init__(self, environment: DemoEnvironment, airflow: AirflowStack, cache: Path) -> None:
        self.environment = environment
        self.cache = cache
        self.sandbox: Sandbox = environment.sandbox
        self.revisions = environment.revisions
        self.airflow = airflow

    @property
    def client(self) -> AirflowClient:
        """Airflow's REST API."""
        return self.airflow.client()

    @property
    def approver(self) -> AirflowClient:
        """The same for the user who approves what others trigger."""
        return self.airflow.client(APPROVER)

    @property
    def confirm_within(self) -> float:
        """Seconds after which an unconfirmed switch comes back."""
        return self.environment.confirm_within

    def trigger(self, kind: str, **conf: Any) -> Run:
        """Start a run of ``bluegreen_<kind>__my_perl_app``."""
        return self.client.trigger(f"bluegreen_{kind}__{APP}", conf)

    def run(self, kind: str, **conf: Any) -> Ended:
        """Start a run and wait for its end."""
        client = self.client
        run = self.trigger(kind, **conf)
        state = client.wait(run, RUN_SECONDS)
        return Ended(run, state, client.xcom(run, "report", "report"))

    def end_runs(self) -> None:
        """End what a test that failed has left running: the next one's runs would wait for it in vain."""
        client = self.client
        for going in client.get("dags/~/dagRuns", state=["running", "queued"])["dag_runs"]:
            run = Run(going["dag_id"], going["dag_run_id"], time.time())
            client.mark(run, "failed")
            client.wait(run, RUN_SECONDS)

    def proxy(self) -> Machine:
        """The first proxy, or the only one."""
        return self.proxies()[0]

    def proxies(self) -> list[Machine]:
        """All of them, by name."""
        names = [f"my-perl-app-lb-{number + 1}" for number in range(self.environment.proxies)]
        return [self.sandbox.machine(name) for name in names]

    def live(self) -> str:
        """Which color the running HAProxy sends traffic to; each of them, if there are several."""
        [live] = {live_on(proxy) for proxy in self.proxies()}
        return live

    def idle(self) -> str:
        """The color that has no traffic."""
        return "green" if self.live() == "blue" else "blue"

    def live_ref(self) -> str | None:
        """Which tag of the sample app is live."""
        return self.ref_on(self.live())

    def ref_on(self, color: str) -> str | None:
        """Which tag of the sample app a color's droplets run, if any."""
        link = self.machines(color)[0].run(["readlink", f"/opt/{SYSTEM_NAME}/current"], check=False).stdout
        return next((tag for tag, revision in self.revisions.items() if revision in link), None)

    def other_ref(self) -> str:
        """A good release that is not the one that is live."""
        return "v1" if self.live_ref() == "v2" else "v2"

    def machines(self, color: str) -> list[Machine]:
        """The application droplets of one color, by name."""
        found = [machine for machine in self.sandbox.machines() if f"env:{color}" in machine.tags]
        return sorted(found, key=lambda machine: machine.name)

    def idle_machines(self) -> list[Machine]:
        """The application droplets that have no traffic."""
        return self.machines(self.idle())

    def destroy(self, machine: Machine) -> None:
        """Destroy a droplet through DigitalOcean's API."""
        self.environment.digitalocean().droplets.destroy(machine.droplet_id)
        until(
            lambda: machine.droplet_id not in {one.droplet_id for one in self.sandbox.machines()},
            "destruction",
        )

    def busy_workers(self) -> dict[int, list[int]]:
        """Return the pids of the tasks that run, by worker; workers are children of the scheduler."""
        workers = _children(self.airflow.scheduler.pid)
        return {worker: tasks for worker in workers if (tasks := _children(worker))}

    def wait_for_ssh(self, machine: Machine) -> None:
        """Wait until a droplet answers SSH, and its app runs again if it ran before."""
        unit = SYSTEM_NAME
        probe = f"systemctl is-active ssh && ! systemctl is-enabled {unit} || systemctl is-active {unit}"
        until(
            lambda: machine.status == "active" and machine.run(probe, check=False).returncode == 0,
            f"{machine.name} answers",
        )


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "--parent", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def live_on(proxy: Machine) -> str:
    """Which color one running HAProxy sends traffic to."""
    shown = proxy.run("echo 'show map /etc/haproxy/traffic.map' | socat - /run/haproxy/admin.sock")
    [live] = [line.split()[2] for line in shown.stdout.splitlines() if line.split()[1:2] == ["live"]]
    return live


@contextmanager
def running(
    environment: DemoEnvironment, directory: Path, extra: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """A provisioned fleet with v1 live, and an Airflow.

    :param directory: for Airflow's files.
    :param extra: more environment variables for Airflow.
    """
    environment.prepare()
    cache = directory.with_name(f"{directory.name}-cache")
    own = {**NOTICED_SOON, "BLUEGREEN_CACHE_DIR": str(cache)}
    airflow = AirflowStack(directory, extra={**own, **environment.variables(), **(extra or {})})
    with airflow:
        kinds = ("provision", "deploy", "rollback", "dry_run", "status")
        airflow.start([environment.dag_id(kind) for kind in kinds])
        stack = Stack(environment, airflow, cache)
        stack.run("provision").expect("done")
        stack.run("deploy", ref="v1").expect("live and confirmed")
        yield stack


def fingerprint(stack: Stack, color: str) -> dict[str, str]:
    """Files and processes of a color, and HAProxy's file, map and processes."""
    shown = {machine.name: machine.run(_FINGERPRINT).stdout for machine in stack.machines(color)}
    return {**shown, "proxy": stack.proxy().run(_TRAFFIC_MAP).stdout}


def start_judge(
    url: str, directory: Path, paths: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], Judge]:
    """Start traffic in a process of its own.

    :param paths: what clients ask for; the sample app's three requests by default.
    """
    judge = Judge(directory / "records.tsv")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sandbox",
            "traffic",
            "--url",
            url,
            "--rate",
            "150",
            "--duration",
            "1800",
            "--records",
            str(judge.records),
            "--out",
            str(directory / "traffic.json"),
            *(word for path in paths for word in ("--path", path)),
        ],
        stdin=subprocess.DEVNULL,
    )
    return process, judge


def stop_judge(process: subprocess.Popen[bytes]) -> None:
    """End the traffic; requests in flight are finished."""
    os.kill(process.pid, signal.SIGTERM)
    process.wait(30)
