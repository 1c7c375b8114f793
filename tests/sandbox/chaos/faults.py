"""What can go wrong: how it is brought about, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from demo.client import Run
from demo.environment import APP
from demo.session import Part
from sandbox import Machine, SandboxError
from tests.sandbox.stack import Stack

AWAY_SECONDS = 5.0


@dataclass
class Scene:
    """A run of a deploy, and where it takes place.

    :param idle: the droplets that the run deploys to.
    :param rival: another run that a fault has started.
    """

    stack: Stack
    run: Run
    idle: list[Machine]
    rival: Run | None = field(default=None)

    @property
    def load_balancer(self) -> Machine:
        """The one that has the traffic."""
        return self.stack.load_balancer()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :param inject: brings it about.
    :param recover: ends it.
    :param lasts: whether it goes on until the run has ended.
    :param clients_see: why clients may notice, if they may: the fault answers them itself.
    """

    inject: Callable[[Scene], None]
    recover: Callable[[Scene], None] = lambda scene: None
    lasts: bool = False
    clients_see: str | None = None


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "--parent", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def _kill_processes(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _kill_task(scene: Scene) -> None:
    """The scheduler's children are workers; a task is a child of one."""
    for worker in _children(scene.stack.airflow.scheduler.pid):
        _kill_processes(_children(worker))


def _kill_worker(scene: Scene) -> None:
    for worker in _children(scene.stack.airflow.scheduler.pid):
        if tasks := _children(worker):
            _kill_processes([worker, *tasks])


def _kill(*names: str) -> Callable[[Scene], None]:
    def kill(scene: Scene) -> None:
        for part in _parts(scene, names):
            part.kill()

    return kill


def _start(*names: str) -> Callable[[Scene], None]:
    def start(scene: Scene) -> None:
        for part in _parts(scene, names):
            part.start()
        scene.stack.airflow.wait_healthy()

    return start


def _parts(scene: Scene, names: tuple[str, ...]) -> list[Part]:
    return [getattr(scene.stack.airflow, name) for name in names]


ALL = ("scheduler", "dag_processor", "api_server")


def _on_load_balancer(command: str) -> Callable[[Scene], None]:
    return lambda scene: _run(scene.load_balancer, command)


def _on_idle(command: str) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        for machine in scene.idle:
            _run(machine, command)

    return run


def _run(machine: Machine, command: str) -> None:
    machine.run(command, check=False)


# Sessions only: the listener goes on, so that the next attempt to connect succeeds.
CUT_SESSIONS = "pkill --signal KILL --full '^sshd: .*(notty|priv)'"
STOP_SSH = f"systemctl stop ssh; {CUT_SESSIONS}"
START_SSH = "systemctl start ssh"
# For longer than a call takes to begin, so that one that is about to start is hit too.
KILL_AGENT = "for i in $(seq 60); do pkill --signal KILL --full '[l]b_agent.py'; sleep 0.01; done"
KILL_JOB = f"systemctl kill --signal=KILL 'bluegreen-{APP}-*.service'"
EDIT_MAP = "sed -i s/live/dead/ /etc/haproxy/traffic.map"


def _away(scene: Scene) -> None:
    time.sleep(AWAY_SECONDS)
    _run(scene.load_balancer, START_SSH)


def _power_off_one(scene: Scene) -> None:
    scene.idle[0].power_off()


def _power_on_one(scene: Scene) -> None:
    scene.idle[0].power_on()
    scene.stack.wait_for_ssh(scene.idle[0])


def _reboot_one(scene: Scene) -> None:
    _power_off_one(scene)
    _power_on_one(scene)


def _reboot_load_balancer(scene: Scene) -> None:
    scene.load_balancer.power_off()
    scene.load_balancer.power_on()


def _wait_for_load_balancer(scene: Scene) -> None:
    def is_back() -> bool:
        try:
            return scene.load_balancer.run("systemctl is-active haproxy ssh", check=False).returncode == 0
        except SandboxError:
            return False

    scene.stack.wait_for(is_back, "the load balancer is back")


def _digitalocean(**fields: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.stack.sandbox.api_fault(path="/v2/*", **fields)


def _digitalocean_is_well(scene: Scene) -> None:
    scene.stack.sandbox.clear_api_faults()


def _rival(kind: str) -> Callable[[Scene], None]:
    def trigger(scene: Scene) -> None:
        ref = {"ref": scene.stack.other_ref()} if kind == "deploy" else {}
        scene.rival = scene.stack.trigger(kind, **ref)

    return trigger


def _wait_for_rival(scene: Scene) -> None:
    assert scene.rival is not None
    scene.stack.client.wait(scene.rival, 120)


FAULTS = {
    "a task's process is killed": Fault(_kill_task),
    "a task and its worker are killed": Fault(_kill_worker),
    "the scheduler and its workers are killed": Fault(_kill("scheduler"), _start("scheduler")),
    "all of Airflow is killed": Fault(_kill(*ALL), _start(*ALL)),
    "the API server is killed": Fault(_kill("api_server"), _start("api_server")),
    "SSH sessions on the load balancer are cut": Fault(_on_load_balancer(CUT_SESSIONS)),
    "the load balancer refuses SSH for 5 s": Fault(_on_load_balancer(STOP_SSH), _away),
    "SSH sessions on the idle droplets are cut": Fault(_on_idle(CUT_SESSIONS)),
    "the agent is killed": Fault(_on_load_balancer(KILL_AGENT)),
    "the deploy job is killed": Fault(_on_idle(KILL_JOB)),
    "an idle droplet loses power": Fault(_power_off_one, _power_on_one, lasts=True),
    "an idle droplet is rebooted": Fault(_reboot_one),
    "an idle droplet's disk is full": Fault(
        lambda scene: scene.idle[0].fill_disk(), lambda scene: scene.idle[0].free_disk(), lasts=True
    ),
    "the load balancer's disk is full": Fault(
        lambda scene: scene.load_balancer.fill_disk(),
        lambda scene: scene.load_balancer.free_disk(),
        lasts=True,
    ),
    "the load balancer loses power": Fault(
        _reboot_load_balancer,
        _wait_for_load_balancer,
        clients_see="it is the only one, and nobody answers until it is back",
    ),
    "DigitalOcean answers 500": Fault(
        _digitalocean(kind="status", status=500), _digitalocean_is_well, lasts=True
    ),
    "DigitalOcean does not answer": Fault(_digitalocean(kind="hang"), _digitalocean_is_well, lasts=True),
    "HAProxy is reloaded by hand": Fault(_on_load_balancer("systemctl reload haproxy")),
    "the map file is damaged by hand": Fault(_on_load_balancer(EDIT_MAP)),
    "the run is marked failed": Fault(lambda scene: scene.stack.client.mark(scene.run, "failed")),
    "the run is marked successful": Fault(lambda scene: scene.stack.client.mark(scene.run, "success")),
    "the run is deleted": Fault(lambda scene: scene.stack.client.delete(scene.run)),
    "another deploy is triggered": Fault(_rival("deploy"), _wait_for_rival),
    "a rollback is triggered": Fault(_rival("rollback"), _wait_for_rival),
}
