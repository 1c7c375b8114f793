"""When to strike: before, during or after a task of a run, or in the middle of what it does."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from demo.client import Run
from sandbox import Machine
from tests.sandbox.stack import SYSTEM_NAME, Stack, live_on

POLL_SECONDS = 0.02
# Into the task: its first tenths go into starting Python.
INSIDE_SECONDS = 0.3
WAITING = ("scheduled", "queued", "restarting", "up_for_retry")
OVER = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass(frozen=True)
class Moment:
    """A place in a run.

    :param phase: ``before``, ``during`` or ``after`` a task, as Airflow sees it; ``amid``: machines show that
        the task's work is half done.
    :param task: a task's id.
    """

    phase: str
    task: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what the table says, for example ``during deploy``.

        :raises ValueError: if it is none.
        """
        found = re.fullmatch(r"(before|during|after|amid) (\w+)", text)
        if found is None or (found[1] == "amid" and text not in SEEN_ON_MACHINES):
            raise ValueError(f"{text!r} is no moment")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.phase} {self.task}"

    def watch(self, stack: Stack, run: Run) -> Callable[[], bool]:
        """Return what tells whether it has come; what it compares with is what is so now."""
        if str(self) in SEEN_ON_MACHINES:
            return SEEN_ON_MACHINES[str(self)](stack, run)
        return lambda: self._is_now(_states(stack, run, self.task))

    def wait(self, stack: Stack, run: Run, seconds: float = 90) -> bool:
        """Wait for it.

        :return: whether it came; a run may end without it.
        """
        has_come = self.watch(stack, run)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if has_come():
                if self.phase == "during":
                    time.sleep(INSIDE_SECONDS)
                return True
            if _has_ended(stack, run):
                return False
            time.sleep(POLL_SECONDS)
        return False

    def _is_now(self, states: list[str]) -> bool:
        if self.phase == "before":
            return any(state in (*WAITING, "running", *OVER) for state in states)
        if self.phase == "during":
            return any(state in ("running", *OVER) for state in states)
        return bool(states) and all(state in OVER for state in states)


def _first_moved(stack: Stack, run: Run) -> Callable[[], bool]:
    old = stack.live()
    return lambda: any(live_on(proxy) != old for proxy in stack.proxies())


def _first_confirmed(stack: Stack, run: Run) -> Callable[[], bool]:
    def seen() -> bool:
        for proxy in stack.proxies():
            known = json.loads(proxy.run("cat /var/lib/bluegreen/traffic.json").stdout)
            if known["confirmed"] and known["confirmed"]["run_id"].endswith(run.run_id):
                return True
        return False

    return seen


def _build_half_done(stack: Stack, run: Run) -> Callable[[], bool]:
    """Look for a release that is not whole yet on the first idle droplet, which is the builder."""
    machine = stack.idle_machines()[0]
    partial = f"ls -d /opt/{SYSTEM_NAME}/*.partial.*"
    return lambda: machine.run(partial, check=False).returncode == 0


def _deploy_at_work(stack: Stack, run: Run) -> Callable[[], bool]:
    """Look for a deploy's job on the first idle droplet: unpacking a release is over between two looks."""
    machine = stack.idle_machines()[0]
    # Twelve hexadecimal digits follow the app's name, as no build's do.
    units = f"bluegreen-{SYSTEM_NAME}-{'[0-9a-f]' * 12}.service"
    shown = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", units]
    return lambda: bool(machine.run(shown, check=False).stdout)


def _expand_at_work(stack: Stack, run: Run) -> Callable[[], bool]:
    """Look for a migration's command on the first idle droplet; its release is there, and was loaded."""
    machine = stack.idle_machines()[0]
    units = f"caged-bluegreen-{SYSTEM_NAME}-expand-*-expand-1.service"
    shown = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", units]
    return lambda: bool(machine.run(shown, check=False).stdout)


def _nobody_has_processes(stack: Stack, run: Run) -> Callable[[], bool]:
    """Look for the time between the last stop on one color and the first start on the other one."""
    machines = [*stack.machines("blue"), *stack.machines("green")]
    return lambda: not any(processes_of(machine) for machine in machines)


def processes_of(machine: Machine) -> list[str]:
    """Return the units of the app's processes on a droplet that run, or have not stopped yet."""
    states = "--state=active,activating,deactivating"
    shown = ["systemctl", "list-units", "--plain", "--no-legend", states, f"{SYSTEM_NAME}-*@*.service"]
    return [line.split()[0] for line in machine.run(shown, check=False).stdout.splitlines()]


# What Airflow's database does not tell, or too late.
SEEN_ON_MACHINES: dict[str, Callable[[Stack, Run], Callable[[], bool]]] = {
    "amid switch_traffic": _first_moved,
    "amid confirm": _first_confirmed,
    "amid build": _build_half_done,
    "amid deploy": _deploy_at_work,
    "amid expand": _expand_at_work,
    "amid move_processes": _nobody_has_processes,
}


def _states(stack: Stack, run: Run, task: str) -> list[str]:
    rows = ask(
        stack,
        "SELECT state FROM task_instance WHERE dag_id = ? AND run_id = ? AND task_id = ?",
        (run.dag_id, run.run_id, task),
    )
    return [state for state in rows if state]


def _has_ended(stack: Stack, run: Run) -> bool:
    rows = ask(stack, "SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", (run.dag_id, run.run_id))
    return not rows or rows[0] in ("success", "failed")


def ask(stack: Stack, query: str, values: tuple[str, ...]) -> list[str]:
    """Return the first column. Airflow's REST API would take longer, and some of it is dead at times."""
    database = f"file:{stack.airflow.home.database}?mode=ro"
    with closing(sqlite3.connect(database, uri=True, timeout=5)) as connection:
        return [row[0] for row in connection.execute(query, values)]
