"""A database with Airflow's tables, filled by a test as runs fill it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

from airflow.models import import_all_models
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import create_engine, event, insert
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool


class Database:
    """Rows, and what was asked for.

    :ivar asked: the queries since the last time that it was emptied.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked: list[str] = []
        event.listen(engine, "before_cursor_execute", self._note)
        self._add(DagBundleModel, name="dags", active=True)

    def session(self) -> Session:
        return Session(self.engine)

    def dag(self, dag_id: str, **changed: Any) -> None:
        about = {"fileloc": "x", "is_stale": False, "is_paused": False, "max_active_tasks": 1}
        about |= {"has_task_concurrency_limits": False, "bundle_name": "dags"}
        about |= {"max_consecutive_failed_dag_runs": 0, "timetable_type": "", "timetable_summary": ""}
        self._add(DagModel, dag_id=dag_id, **about | changed)

    def run(self, dag_id: str, run_id: str, at: datetime, state: str = "success", **changed: Any) -> int:
        about = {"run_type": "manual", "run_after": at, "start_date": at, "queued_at": at, "conf": {}}
        about |= {"_state": state, "creating_job_id": None, "clear_number": 0, "log_template_id": None}
        return self._add(DagRun, dag_id=dag_id, run_id=run_id, **about | changed)

    def task(
        self, dag_id: str, run_id: str, task_id: str, state: str | None = "success", **changed: Any
    ) -> Any:
        about: dict[str, Any] = {"id": uuid4(), "map_index": -1, "pool": "default_pool", "pool_slots": 1}
        about |= {"try_number": 1, "state": state, "max_tries": 0}
        about |= changed
        self._add(TaskInstance, dag_id=dag_id, run_id=run_id, task_id=task_id, **about)
        return about["id"]

    def xcom(self, number: int, dag_id: str, run_id: str, task_id: str, **about: Any) -> None:
        """Leave an XCom of the run with a number; ``key``, ``value`` and ``timestamp`` are given."""
        key = {"dag_run_id": number, "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        self._add(XComModel, **key | {"map_index": -1} | about)

    def question(self, task: Any, subject: str, at: datetime) -> None:
        about = {"options": ["Approve"], "params": {}, "params_input": {}}
        self._add(HITLDetail, ti_id=task, subject=subject, created_at=at, **about)

    def asset(self, name: str) -> int:
        return self._add(AssetModel, name=name, uri=name, group="asset", extra={})

    def event(self, asset: int, dag_id: str, run_id: str, extra: Any, at: datetime, **changed: Any) -> None:
        about = {"source_task_id": "announce", "source_dag_id": dag_id, "source_run_id": run_id}
        self._add(AssetEvent, asset_id=asset, extra=extra, timestamp=at, **about | changed)

    def _add(self, model: Any, **values: Any) -> int:
        with self.engine.begin() as connection:
            columns = {getattr(model, name): value for name, value in values.items()}
            made = connection.execute(insert(model).values(columns))
            key = made.inserted_primary_key
            return key[0] if key is not None and isinstance(key[0], int) else 0

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.asked.append(statement)


@contextmanager
def airflow_database() -> Iterator[Database]:
    """Make an empty database in memory."""
    # Tables refer to those of other modules.
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    try:
        yield Database(engine)
    finally:
        engine.dispose()
