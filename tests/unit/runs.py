"""A run whose tasks tell each other what a test lets them."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import (
    AirflowFailException,
)

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.operators import report
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.plan import HeldLock, Plan
from tests.unit.fleets import LB, ONE_EACH

APP = "my_perl_app"
REVISION = "a" * 40
TOKEN = 7
LOST = DropletUnreachableError("the SSH connection was lost")
GONE = BlueGreenError("lb-1 cannot be reached")
LOCK = HeldLock(proxies=(LB,), tokens={"lb-1": 7}).model_dump(mode="json")


def plan(live: Color | None) -> dict[str, Any]:
    return Plan(live=live, idle=Color.GREEN, fleet=ONE_EACH).model_dump(mode="json")


def context(states: dict[str, str] | None = None, **xcoms: Any) -> Any:
    """A run's context; pushed XComs are kept in ``said``.

    XComs are named by their task, with ``__`` and their key unless that is the default or the task's id.
    """
    said: dict[str, Any] = {}

    def pull(task_ids: str, key: str = "return_value", map_indexes: int = -1) -> Any:
        return xcoms.get(task_ids if key in ("return_value", task_ids) else f"{task_ids}__{key}")

    ti = SimpleNamespace(
        dag_id="deploy",
        run_id="run",
        task_id="report",
        said=said,
        xcom_push=lambda key, value: said.update({key: value}),
        xcom_pull=pull,
        get_task_states=lambda dag_id, run_ids: {"run": states or {}},
        get_task_breadcrumbs=lambda dag_id, run_id: [],
    )
    run = SimpleNamespace(dag_id="deploy", run_id="run", triggering_user_name="alice")
    run.run_type = DagRunType.MANUAL
    run.clear_number, run.start_date, run.conf = 0, datetime(2026, 11, 23, tzinfo=UTC), {}
    dag = SimpleNamespace(
        task_ids=sorted({*(states or {}), *(name.partition("__")[0] for name in xcoms)}),
        params={"dry_run": False, "emergency": False},
    )
    return {"ti": ti, "dag_run": run, "dag": dag, "params": {}}


class Run:
    """A run's task instances, and the context that each of them gets.

    :param first: the task that finds its revision.
    :param params: what the run was triggered with.
    """

    def __init__(self, run_id: str = "run", first: str = "resolve_ref", **params: Any) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.mapped: dict[tuple[str, str], dict[int, Any]] = {}
        self.task_id = first
        self.dag_id, self.run_id, self.map_index = "deploy", run_id, -1
        done: tuple[str, ...] = (
            *(first, "provision_check", "build", "preview_check", "approval"),
            *("switch_traffic", "final_validation"),
        )
        if first == "previous_release":
            done = tuple(one for one in done if one != "build")
        self.states = dict.fromkeys(done, "success")
        run = SimpleNamespace(
            dag_id="deploy",
            run_id=run_id,
            triggering_user_name="bob",
            run_type=SimpleNamespace(value="manual"),
        )
        mapped = "restore" if first == "previous_release" else "deploy"
        dag = SimpleNamespace(task_ids=[*self.states, mapped], params=params)
        self.context: Any = {"ti": self, "dag_run": run, "dag": dag, "params": params}

    def xcom_push(self, key: str, value: Any) -> None:
        """Push as the task does whose turn it is."""
        if self.map_index < 0:
            self.xcoms[self.task_id, key] = value
        else:
            self.mapped.setdefault((self.task_id, key), {})[self.map_index] = value

    @property
    def this(self) -> ThisRun:
        """The run as a task sees it that looks now."""
        return ThisRun(self.context)

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int | None = None) -> Any:
        """Return what a task pushed; without an index what all its instances did, or the only one of them."""
        if map_indexes is not None:
            return self.xcoms.get((task_ids, key))
        found = list(self.mapped.get((task_ids, key), {}).values())
        return found[0] if len(found) == 1 else found

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        """Return the states of all tasks."""
        return {self.run_id: self.states}


def running(task_id: str) -> ThisRun:
    """Return the run of a task of which nothing else is known."""
    run = Run()
    run.task_id = task_id
    return run.this


def report_of(run: Any, good: bool = False, **settings: Any) -> str:
    told = {"subject": "deploy of v2", **settings}
    task = report.ReportOperator(task_id="report", app_id=APP, **told)
    with nullcontext() if good else pytest.raises(AirflowFailException):
        task.execute(run)
    return str(run["ti"].said["report"]["message"])
