"""The table: which fault strikes when. One line more is one row, or one cell, more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.sandbox.chaos.faults import FAULTS
from tests.sandbox.chaos.faults_of_state import FAULTS_OF_STATE
from tests.sandbox.chaos.moments import Moment

BEFORE_THE_SWITCH = (
    "resolve_ref",
    "lock",
    "provision_check",
    "render_and_reload",
    "drain",
    "build",
    "deploy",
    "health_check",
    "preview_check",
)
AFTER_IT = ("switch_traffic", "final_validation", "judge", "confirm", "report")
TASKS = (*BEFORE_THE_SWITCH, *AFTER_IT)
ASKING_THE_PROXY = (
    "lock",
    "render_and_reload",
    "health_check",
    "switch_traffic",
    "final_validation",
    "confirm",
    "report",
)


def during(*tasks: str) -> tuple[str, ...]:
    """In the middle of each of some tasks."""
    return tuple(f"during {task}" for task in tasks)


GIVEN_UP = "all of Airflow is killed, its run is given up, and a build goes on"

TABLE: dict[str, tuple[str, ...]] = {
    "a task's process is killed": (*during(*TASKS), "during rollback"),
    "a task and its worker are killed": (*during("deploy", *AFTER_IT), "during rollback"),
    "the scheduler and its workers are killed": (*during("deploy", *AFTER_IT), "before switch_traffic"),
    "all of Airflow is killed": ("amid build", "amid deploy", *during("deploy", "confirm"), "after confirm"),
    "all of Airflow is killed until the traffic is back": (
        "before switch_traffic",
        "amid switch_traffic",
        "after final_validation",
    ),
    GIVEN_UP: ("amid build", "amid deploy"),
    "the API server is killed": during("deploy", "switch_traffic", "final_validation", "confirm"),
    "SSH sessions on the proxy are cut": during(*ASKING_THE_PROXY),
    "the proxy refuses SSH for 5 s": during("lock", "switch_traffic", "final_validation", "confirm"),
    "the way to the proxy is slow": ("before resolve_ref",),
    "SSH sessions on an idle droplet are cut": (
        *during("provision_check", "build", "deploy"),
        "amid build",
        "amid deploy",
    ),
    "the agent is killed": during("lock", "render_and_reload", "switch_traffic", "confirm"),
    "the job on an idle droplet is killed": ("during deploy", "amid build", "amid deploy"),
    "an idle droplet loses power": (
        "amid build",
        "amid deploy",
        "during health_check",
        "before switch_traffic",
    ),
    "an idle droplet is rebooted": ("during deploy", "amid build", "amid deploy"),
    "an idle droplet's disk is full": ("before build", "before deploy", "amid build", "amid deploy"),
    "the proxy's disk is full": (
        "before render_and_reload",
        "before switch_traffic",
        *during("final_validation", "confirm"),
    ),
    "the proxy loses power": during("deploy", "final_validation"),
    "DigitalOcean answers 500": ("before lock", "before provision_check"),
    "DigitalOcean answers 429": ("before provision_check",),
    "DigitalOcean does not answer": ("before provision_check",),
    "HAProxy is reloaded by hand": during("deploy", "switch_traffic", "final_validation"),
    "the map file is damaged by hand": during("deploy", "final_validation"),
    "the run is marked failed": during("build", "deploy", "switch_traffic", "final_validation", "confirm"),
    "the run is marked successful": during("final_validation"),
    "the run is cleared": ("amid switch_traffic", *during("final_validation", "confirm"), "after report"),
    "the task is marked failed": during("deploy", "switch_traffic", "confirm"),
    "the task is marked successful": during("deploy", "switch_traffic", "final_validation", "confirm"),
    "the task is cleared": (*during("build", "deploy", "switch_traffic", "final_validation"), "after report"),
    # With all that follow it, in a run that has gone on from there long ago.
    "the task build is cleared": during("final_validation"),
    "the task deploy is cleared": during("final_validation", "confirm"),
    "the task provision_check is cleared": during("final_validation", "confirm"),
    "the run is deleted": during("deploy", "final_validation"),
    "another deploy is triggered": ("before resolve_ref",),
    "a rollback is triggered": ("before resolve_ref", "during deploy", "during final_validation"),
}

# These need two proxies, so they have a fleet of their own.
TABLE_OF_TWO: dict[str, tuple[str, ...]] = {
    "one of two proxies has no power": during("deploy", "switch_traffic", "final_validation", "confirm"),
    "one of two proxies has no power until the deadline is over": (
        *during("final_validation", "confirm"),
        "amid confirm",
    ),
    "one of two proxies is rebooted": during("switch_traffic", "confirm"),
    "one of two proxies refuses SSH for 5 s": during("switch_traffic", "confirm"),
    "the agent of one of two proxies is killed": during("switch_traffic", "confirm"),
    "all of Airflow is killed, and one of two proxies is slow": (
        "amid switch_traffic",
        "amid confirm",
    ),
}

# A rollback is struck instead of a deploy.
TABLE_OF_ROLLBACKS: dict[str, tuple[str, ...]] = {
    "a task's process is killed": during("switch_traffic", "final_validation", "confirm"),
    "a task and its worker are killed": during("switch_traffic", "final_validation", "confirm"),
    "all of Airflow is killed until the traffic is back": ("amid switch_traffic",),
}

# A deploy is struck, and a rollback comes next instead of a deploy.
TABLE_BEFORE_ROLLBACKS: dict[str, tuple[str, ...]] = {GIVEN_UP: ("amid deploy",)}

# These need an app with a migration, processes and sessions, so they have a fleet of their own, too.
TABLE_OF_STATE: dict[str, tuple[str, ...]] = {
    "a task's process is killed": during("settle_processes", "expand", "move_processes"),
    "a task and its worker are killed": during("expand", "move_processes"),
    "all of Airflow is killed": ("amid expand", "after confirm", "amid move_processes"),
    "SSH sessions on an idle droplet are cut": ("amid expand",),
    "the job on an idle droplet is killed": ("amid expand",),
    "an idle droplet loses power": ("amid expand",),
    "an idle droplet is rebooted": ("amid expand",),
    "a droplet that lost the traffic loses power": ("after confirm", "amid move_processes"),
    "a droplet that lost the traffic is rebooted": ("after confirm",),
    "the app's processes are killed": during("deploy"),
    "the run is marked failed": during("expand", "move_processes"),
    "the task is marked failed": during("expand", "move_processes"),
    "the task is marked successful": during("expand", "move_processes"),
    "the task is cleared": during("expand", "move_processes"),
}
TABLE_OF_ROLLBACKS_WITH_STATE: dict[str, tuple[str, ...]] = {
    "a task and its worker are killed": during("move_processes"),
    "all of Airflow is killed": ("amid move_processes",),
}
TASKS_OF_STATE = ("settle_processes", "expand", "move_processes")

# Part of every test run: one of each kind that can hurt most.
QUICK = {
    ("a task and its worker are killed", "during final_validation"),
    ("all of Airflow is killed until the traffic is back", "amid switch_traffic"),
    ("SSH sessions on the proxy are cut", "during switch_traffic"),
}


@dataclass(frozen=True)
class Cell:
    """One fault at one moment.

    :param proxies: of the fleet that it strikes.
    :param kind: of the run that it strikes: ``deploy`` or ``rollback``.
    :param again: what comes after it.
    :param stateful: whether the app has a migration, processes and sessions.
    """

    fault: str
    moment: Moment
    proxies: int = 1
    kind: str = "deploy"
    again: str = "deploy"
    stateful: bool = False

    def __str__(self) -> str:
        return f"{self.row}, {self.moment}"

    @property
    def row(self) -> str:
        """What the matrix calls it."""
        name = f"{self.fault}, stateful" if self.stateful else self.fault
        if self.kind == "rollback":
            return f"{name}, in a rollback"
        return name if self.again == self.kind else f"{name}, then a {self.again}"

    @property
    def is_quick(self) -> bool:
        """Whether it is part of every test run."""
        return (self.row, str(self.moment)) in QUICK

    @property
    def ref(self) -> str | None:
        """What has to be deployed; None if any good release will do.

        A bad one for the moment to come, or for it not to be what the next deploy wants.
        """
        return "v4-bad" if self.moment.task == "rollback" or self.fault == GIVEN_UP else None


def _cells(table: dict[str, tuple[str, ...]], **fields: Any) -> list[Cell]:
    return [
        Cell(fault, Moment.parse(moment), **fields) for fault, moments in table.items() for moment in moments
    ]


CELLS = [
    *_cells(TABLE),
    *_cells(TABLE_OF_ROLLBACKS, kind="rollback", again="rollback"),
    *_cells(TABLE_BEFORE_ROLLBACKS, again="rollback"),
    *_cells(TABLE_OF_TWO, proxies=2),
    *_cells(TABLE_OF_STATE, stateful=True),
    *_cells(TABLE_OF_ROLLBACKS_WITH_STATE, kind="rollback", again="rollback", stateful=True),
]
ALL_FAULTS = FAULTS | FAULTS_OF_STATE
assert {cell.fault for cell in CELLS} == ALL_FAULTS.keys()
assert {(cell.row, str(cell.moment)) for cell in CELLS} >= QUICK
assert len({str(cell) for cell in CELLS}) == len(CELLS)
