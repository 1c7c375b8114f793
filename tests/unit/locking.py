"""The task lock, run by a test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from airflow.sdk.api.datamodels._generated import DagRunType

from bluegreen.operators import lock
from bluegreen.operators.support.this_run import ThisRun
from tests.unit.fleets import LB
from tests.unit.runs import REVISION


def acquire(
    lock_wait: float,
    reachable: bool = True,
    user: str | None = "bob",
    fleets: Any = ((LB,),),
    revision: str | None = None,
    conf: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Run the task; DigitalOcean tells of one of the fleets after the other, of the last one then."""
    task = lock.AcquireLockOperator(task_id="lock", app_id="my_perl_app", purpose="deploy of v2", **settings)
    app = task.app
    timeouts = app.timeouts.model_copy(update={"lock_wait": lock_wait})
    task.__dict__["app"] = app.model_copy(update={"timeouts": timeouts})
    fleets = list(fleets)
    task.__dict__["read_fleet"] = lambda goes_back: SimpleNamespace(
        proxies=fleets.pop(0) if len(fleets) > 1 else fleets[0]
    )
    task.reachable_only = not reachable
    task.__dict__["_reachable"] = lambda _one: reachable
    task.__dict__["_refuse_a_run_that_has_ended"] = lambda _context: None
    run = SimpleNamespace(dag_id="deploy", run_id="r2", triggering_user_name=user)
    run.clear_number, run.start_date, run.run_type, run.conf = 0, None, DagRunType.SCHEDULED, conf
    dag: Any = SimpleNamespace(params={"revision": None, "live": None}, task_ids=["resolve_ref", "lock"])
    ti = MagicMock()
    ti.xcom_pull.return_value = REVISION
    params = {"revision": revision, **(conf or {})}
    return task.act(ThisRun({"ti": ti, "dag_run": run, "dag": dag, "params": params}))
