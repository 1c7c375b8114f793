"""What can go wrong: how it is brought about, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from demo.client import Run
from demo.errors import ApiError, ApiUnreachableError
from demo.session import Part
from sandbox import Machine, SandboxError
from tests.sandbox.chaos.leftovers import status_of
from tests.sandbox.stack import SYSTEM_NAME, Stack
from tests.waiting import until

AWAY_SECONDS = 5.0
# How long to look for what is to be struck: a task needs a second until it does anything.
AIM_SECONDS = 5
SLOW_MILLISECONDS = 300


@dataclass
class Scene:
    """A run of a deploy or a rollback, and where it takes place.

    :param task: the id of the task that the fault is to hit.
    :param old: the color that was live before.
    :param idle: the droplets that the run moves traffic to.
    :param rival: another run that a fault has started.
    """

    stack: Stack
    run: Run
    task: str
    old: str
    idle: list[Machine]
    rival: Run | None = field(default=None)

    @property
    def proxy(self) -> Machine:
        """The one to strike; of two, the first."""
        return self.stack.proxy()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :param inject: brings it about.
    :param recover: ends it.
    :param prepare: makes the run slow enough to be hit; before the run.
    :param lasts: whether it goes on until the run has ended.
    :param clients_see: why clients of the proxy that it strikes may notice, if they may: the fault
        answers them itself.
    :param afterwards: what comes of it later; after the plain re-run.
    """

    inject: Callable[[Scene], None]
    recover: Callable[[Scene], None] = lambda scene: None
    prepare: Callable[[Stack], None] = lambda stack: None
    lasts: bool = False
    clients_see: str | None = None
    afterwards: Callable[[Scene], None] = lambda scene: None


def _kill_processes(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _busy_workers(scene: Scene) -> dict[int, list[int]]:
    deadline = time.monotonic() + AIM_SECONDS
    while time.monotonic() < deadline:
        if busy := scene.stack.busy_workers():
            return busy
    raise AssertionError("no task ran, so nothing was hit")


def _kill_task(scene: Scene) -> None:
    for tasks in _busy_workers(scene).values():
        _kill_processes(tasks)


def _kill_worker(scene: Scene) -> None:
    for worker, tasks in _busy_workers(scene).items():
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


def _on_proxy(command: str) -> Callable[[Scene], None]:
    return lambda scene: _run(scene.proxy, command)


def _on_idle(command: str) -> Callable[[Scene], None]:
    """On one of them; what runs on the others goes on."""
    return lambda scene: _run(scene.idle[0], command)


def _run(machine: Machine, command: str) -> None:
    """A command that fails has hit nothing: then the cell would show nothing."""
    done = machine.run(command, check=False)
    assert done.returncode == 0, f"nothing was hit on {machine.name}: {done.stderr.strip()}"


def _as_soon_as(command: str) -> str:
    """A command that fails until there is something to hit."""
    return f"for i in $(seq {AIM_SECONDS * 50}); do {command} && exit; sleep 0.02; done; exit 1"


# Sessions only: the listener goes on, so that the next attempt to connect succeeds.
CUT = "pkill --signal KILL --full '^sshd: .*(notty|priv)'"
CUT_SESSIONS = _as_soon_as(CUT)
STOP_SSH = f"systemctl stop ssh; {CUT}; true"
START_SSH = "systemctl start ssh"
# More than once, so that an attempt that follows at once is hit too.
SHOOT = "pkill --signal KILL --full '[/]agent-.*pyz'"
KILL_AGENT = _as_soon_as(f"{SHOOT} && for i in $(seq 60); do {SHOOT}; sleep 0.01; done; [ $i = 60 ]")
JOB_UNITS = f"'bluegreen-{SYSTEM_NAME}-*.service'"
JOBS = f"systemctl list-units --plain --no-legend --state=running {JOB_UNITS}"
KILL_JOB = _as_soon_as(f"{JOBS} | grep -q . && systemctl kill --signal=KILL {JOB_UNITS}")
FREEZE_JOB = _as_soon_as(f"{JOBS} | grep -q . && systemctl kill --signal=STOP {JOB_UNITS}")
EDIT_MAP = "sed -i s/live/dead/ /etc/haproxy/traffic.map"


def _away(scene: Scene) -> None:
    time.sleep(AWAY_SECONDS)
    _run(scene.proxy, START_SSH)


def _wait_for_the_way_back(scene: Scene) -> None:
    """Nobody is there but the proxies, and they decide in time."""
    try:
        for proxy in scene.stack.proxies():
            _watch_the_way_back(scene, proxy)
    finally:
        _start(*ALL)(scene)


def _watch_the_way_back(scene: Scene, proxy: Machine) -> None:
    """By the proxy's own clock it takes as long as the settings say: to look takes time, too."""
    stack, switched = scene.stack, 0.0

    def is_back() -> bool:
        nonlocal switched
        status = status_of(proxy)
        if status["pending"] and status["live"] != scene.old:
            switched = status["moved_at"]
        return status["live"] == scene.old and not status["pending"]

    until(is_back, f"{proxy.name} takes the traffic back", stack.confirm_within + 30)
    if switched:
        took = status_of(proxy)["moved_at"] - switched
        assert took <= stack.confirm_within + 1, f"{proxy.name} took traffic back after {took:.1f} s"


def _slow(stack: Stack) -> None:
    stack.proxy().delay(SLOW_MILLISECONDS)


def _quick(scene: Scene) -> None:
    scene.proxy.undelay()


def _power_off_one(scene: Scene) -> None:
    scene.idle[0].power_off()


def _power_on_one(scene: Scene) -> None:
    scene.idle[0].power_on()
    scene.stack.wait_for_ssh(scene.idle[0])


def _reboot_one(scene: Scene) -> None:
    _power_off_one(scene)
    _power_on_one(scene)


def _reboot_proxy(scene: Scene) -> None:
    scene.proxy.power_off()
    scene.proxy.power_on()


def _power_on_proxy(scene: Scene) -> None:
    scene.proxy.power_on()
    _wait_for_proxy(scene)


def _power_on_after_the_deadline(scene: Scene) -> None:
    """Once whatever waited there to be confirmed, and its peer's patience, are over."""
    overdue = time.monotonic() + scene.stack.confirm_within + 6
    until(lambda: time.monotonic() > overdue, "the deadline", scene.stack.confirm_within + 10)
    _power_on_proxy(scene)


def _revive_and_quicken(scene: Scene) -> None:
    _quick(scene)
    _start(*ALL)(scene)


def _wait_for_proxy(scene: Scene) -> None:
    def is_back() -> bool:
        try:
            return scene.proxy.run("systemctl is-active haproxy ssh", check=False).returncode == 0
        except SandboxError:
            return False

    until(is_back, "the proxy is back")


def _freeze_builds_and_kill(scene: Scene) -> None:
    """What is being built goes on for as long as this wants, as a build that takes minutes does."""
    # A release is built on one droplet, and installed on all of them.
    for machine in scene.idle[:1] if scene.task == "build" else scene.idle:
        _run(machine, FREEZE_JOB)
    _kill(*ALL)(scene)


def _give_the_run_up(scene: Scene) -> None:
    """While no scheduler is there that could end its tasks, and what they have begun."""
    stack = scene.stack
    _parts(scene, ("api_server",))[0].start()

    def is_marked() -> bool:
        try:
            stack.client.mark(scene.run, "failed")
        except (ApiError, ApiUnreachableError):
            return False
        return True

    until(is_marked, "the run is marked failed", 60)
    _start("scheduler", "dag_processor")(scene)


def _is_idle(machine: Machine) -> bool:
    return not machine.run(JOBS).stdout.strip()


def _thaw_builds(scene: Scene) -> None:
    for machine in scene.idle:
        machine.run(f"systemctl kill --signal=CONT {JOB_UNITS}", check=False)
        until(
            partial(_is_idle, machine),
            f"no job is at work on {machine.name}",
            90,
        )


def _digitalocean(**fields: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.stack.sandbox.fault("api", path="/v2/*", **fields)


def _digitalocean_is_well(scene: Scene) -> None:
    scene.stack.sandbox.clear_faults()


def _mark(state: str) -> Callable[[Scene], None]:
    return lambda scene: scene.stack.client.mark_task(scene.run, scene.task, state)


def _delete(scene: Scene) -> None:
    # Airflow deletes no run that goes on, and one that is marked failed goes on until its teardowns are done.
    scene.stack.client.mark(scene.run, "failed")
    scene.stack.client.wait(scene.run, 120)
    scene.stack.client.delete(scene.run)


def _clear_run(scene: Scene) -> None:
    deadline = time.monotonic() + AIM_SECONDS
    while True:
        try:
            return scene.stack.client.clear(scene.run)
        except ApiError as error:
            # The tests' Airflow has SQLite, which now and then is busy for too long.
            if error.status != 500 or time.monotonic() > deadline:
                raise


def _clear(task: str | None = None) -> Callable[[Scene], None]:
    """Clear a task, by default the one that is at work, and all that follow it."""
    return lambda scene: scene.stack.client.clear(scene.run, [task or scene.task])


def _rival(kind: str) -> Callable[[Scene], None]:
    def trigger(scene: Scene) -> None:
        ref = {"ref": scene.stack.other_ref()} if kind == "deploy" else {}
        scene.rival = scene.stack.trigger(kind, **ref)

    return trigger


def _wait_for_rival(scene: Scene) -> None:
    assert scene.rival is not None
    scene.stack.client.wait(scene.rival, 120)


WITHOUT_POWER = "those of the other one do not; its own wait until it is back, or go to the other one"
SLOW = "theirs is slow, too: packets are lost at its end, and they use what HAProxy is closing"

FAULTS = {
    "a task's process is killed": Fault(_kill_task),
    "a task and its worker are killed": Fault(_kill_worker),
    "the scheduler and its workers are killed": Fault(_kill("scheduler"), _start("scheduler")),
    "all of Airflow is killed": Fault(_kill(*ALL), _start(*ALL)),
    "all of Airflow is killed until the traffic is back": Fault(_kill(*ALL), _wait_for_the_way_back),
    "all of Airflow is killed, its run is given up, and a build goes on": Fault(
        _freeze_builds_and_kill, _give_the_run_up, afterwards=_thaw_builds
    ),
    "the API server is killed": Fault(_kill("api_server"), _start("api_server")),
    "SSH sessions on the proxy are cut": Fault(_on_proxy(CUT_SESSIONS)),
    "the proxy refuses SSH for 5 s": Fault(_on_proxy(STOP_SSH), _away),
    "the way to the proxy is slow": Fault(
        lambda scene: None,
        _quick,
        _slow,
        lasts=True,
        clients_see=SLOW,
    ),
    "SSH sessions on an idle droplet are cut": Fault(_on_idle(CUT_SESSIONS)),
    "the agent is killed": Fault(_on_proxy(KILL_AGENT)),
    "the job on an idle droplet is killed": Fault(_on_idle(KILL_JOB)),
    "an idle droplet loses power": Fault(_power_off_one, _power_on_one, lasts=True),
    "an idle droplet is rebooted": Fault(_reboot_one),
    "an idle droplet's disk is full": Fault(
        lambda scene: scene.idle[0].fill_disk(), lambda scene: scene.idle[0].free_disk(), lasts=True
    ),
    "the proxy's disk is full": Fault(
        lambda scene: scene.proxy.fill_disk(),
        lambda scene: scene.proxy.free_disk(),
        lasts=True,
    ),
    "the proxy loses power": Fault(
        _reboot_proxy,
        _wait_for_proxy,
        clients_see="it is the only one, and nobody answers until it is back",
    ),
    "DigitalOcean answers 500": Fault(
        _digitalocean(kind="status", status=500), _digitalocean_is_well, lasts=True
    ),
    "DigitalOcean answers 429": Fault(
        _digitalocean(kind="status", status=429, retry_after=3600), _digitalocean_is_well, lasts=True
    ),
    "DigitalOcean does not answer": Fault(_digitalocean(kind="hang"), _digitalocean_is_well, lasts=True),
    "HAProxy is reloaded by hand": Fault(_on_proxy("systemctl reload haproxy")),
    "the map file is damaged by hand": Fault(_on_proxy(EDIT_MAP)),
    "the run is marked failed": Fault(lambda scene: scene.stack.client.mark(scene.run, "failed")),
    "the run is marked successful": Fault(lambda scene: scene.stack.client.mark(scene.run, "success")),
    "the run is cleared": Fault(_clear_run),
    "the task is marked failed": Fault(_mark("failed")),
    "the task is marked successful": Fault(_mark("success")),
    "the task is cleared": Fault(_clear()),
    "the task build is cleared": Fault(_clear("build")),
    "the task deploy is cleared": Fault(_clear("deploy")),
    "the task provision_check is cleared": Fault(_clear("provision_check")),
    "the run is deleted": Fault(_delete),
    "another deploy is triggered": Fault(_rival("deploy"), _wait_for_rival),
    "a rollback is triggered": Fault(_rival("rollback"), _wait_for_rival),
    "one of two proxies has no power": Fault(
        lambda scene: scene.proxy.power_off(),
        _power_on_proxy,
        lasts=True,
        clients_see=WITHOUT_POWER,
    ),
    "one of two proxies has no power until the deadline is over": Fault(
        lambda scene: scene.proxy.power_off(),
        _power_on_after_the_deadline,
        lasts=True,
        clients_see=WITHOUT_POWER,
    ),
    "one of two proxies is rebooted": Fault(_reboot_proxy, _wait_for_proxy, clients_see=WITHOUT_POWER),
    "one of two proxies refuses SSH for 5 s": Fault(_on_proxy(STOP_SSH), _away),
    "the agent of one of two proxies is killed": Fault(_on_proxy(KILL_AGENT)),
    "all of Airflow is killed, and one of two proxies is slow": Fault(
        _kill(*ALL), _revive_and_quicken, _slow, clients_see=SLOW
    ),
}
