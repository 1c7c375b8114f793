"""From Airflow's database to records: a fixed number of queries, however many apps and runs there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from bluegreen.page.records import ActiveRun, AppRecords, Ended, Left, Question, TaskState, app_of, kind_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ColumnElement, Select

# DAGs that are looked at: of some 250 apps. Airflow itself lists no more at a time than that.
MOST_DAGS = 2000
# Runs of each app in its strip, runs at work, and instances of their tasks.
MOST_ENDED, MOST_ACTIVE, MOST_TASKS = 12, 200, 10_000
# SQLite takes 500 parts of a UNION.
UNION_PARTS = 250
# A larger record, or XCom, is none of this project's.
MOST_CHARACTERS = 2_000_000

# The last result of these DAGs: their kind, the task, and the keys of its XComs.
_RESULTS = {
    "status": ("status", ("return_value",)),
    "dry_run": ("check", ("summary", "findings")),
    "certificates": ("renew_certificates", ("certificates",)),
}
# XComs of runs at work.
_OF_ACTIVE = {
    ("resolve_ref", "return_value"),
    ("resolve_ref", "commit"),
    ("provision_check", "plan"),
    ("switch_traffic", "return_value"),
    ("rollback", "return_value"),
    ("final_validation", "progress"),
}


def read(session: Session, readable: Collection[str]) -> list[AppRecords]:
    """Return the records of every app of which some DAG is readable, by the apps' names.

    :param readable: ids of the DAGs that the reader may read; nothing of any other DAG is returned.
    """
    dag_ids = _dag_ids(session, readable)
    apps: dict[str, AppRecords] = {}
    for dag_id in dag_ids:
        app_id = app_of(dag_id)
        apps.setdefault(app_id, AppRecords(app_id)).kinds.add(kind_of(dag_id))
    if apps:
        for run in _active(session, dag_ids):
            apps[app_of(run.dag_id)].active.append(run)
        _add_results(session, apps)
        _add_ended(session, apps, [one for one in dag_ids if kind_of(one) not in ("dry_run", "status")])
    return [apps[app_id] for app_id in sorted(apps)]


def _dag_ids(session: Session, readable: Collection[str]) -> list[str]:
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    query = (
        select(DagModel.dag_id)
        .where(DagModel.dag_id.startswith("bluegreen_", autoescape=True), DagModel.is_stale.is_(False))
        .order_by(DagModel.dag_id)
        .limit(MOST_DAGS)
    )
    return [one for one in session.scalars(query) if one in readable and app_of(one)]


def _active(session: Session, dag_ids: Collection[str]) -> list[ActiveRun]:
    """Return the runs that have not ended, the oldest first."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    query = (
        select(
            *(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.conf, DagRun.run_type),
            *(DagRun.start_date, DagRun.queued_at, DagRun.run_after, DagRun.triggering_user_name),
        )
        .where(DagRun.state.in_(("queued", "running")), DagRun.dag_id.in_(dag_ids))
        .order_by(DagRun.id.desc())
        .limit(MOST_ACTIVE)
    )
    found = session.execute(query).all()
    if not found:
        return []
    ids = [row.id for row in found]
    tasks, questions = _tasks(session, ids)
    left = _left_by_active(session, ids)
    return [
        ActiveRun(
            dag_id=row.dag_id,
            run_id=row.run_id,
            state=str(row.state),
            since=row.start_date or row.queued_at or row.run_after,
            by=row.triggering_user_name or str(row.run_type),
            conf=row.conf,
            tasks=tuple(tasks.get(row.id, ())),
            left=left.get(row.id, {}),
            question=questions.get(row.id),
        )
        for row in reversed(found)
    ]


def _tasks(
    session: Session, run_ids: Collection[int]
) -> tuple[dict[int, list[TaskState]], dict[int, Question]]:
    """Return the task instances of runs, and the approvals that they wait for, by the runs' numbers."""
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    query = (
        select(
            *(DagRun.id, TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state),
            *(TaskInstance.start_date, TaskInstance.end_date),
            *(HITLDetail.subject, HITLDetail.created_at),
        )
        .join(DagRun, and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id))
        .outerjoin(HITLDetail, and_(HITLDetail.ti_id == TaskInstance.id, HITLDetail.responded_at.is_(None)))
        .where(DagRun.id.in_(run_ids))
        .limit(MOST_TASKS)
    )
    tasks: dict[int, list[TaskState]] = {}
    questions: dict[int, Question] = {}
    for row in session.execute(query):
        tasks.setdefault(row.id, []).append(
            TaskState(row.task_id, row.map_index, row.state, row.start_date, row.end_date)
        )
        if row.subject is not None and row.state in ("running", "awaiting_input"):
            questions[row.id] = Question(row.task_id, row.subject, row.created_at)
    return tasks, questions


def _left_by_active(session: Session, run_ids: Collection[int]) -> dict[int, dict[tuple[str, str], Left]]:
    from airflow.models.xcom import XComModel
    from sqlalchemy import tuple_

    wanted = (
        XComModel.dag_run_id.in_(run_ids),
        tuple_(XComModel.task_id, XComModel.key).in_(sorted(_OF_ACTIVE)),
    )
    left: dict[int, dict[tuple[str, str], Left]] = {}
    for row in session.execute(_xcoms(*wanted)):
        left.setdefault(row.dag_run_id, {})[row.task_id, row.key] = Left(row.value, row.timestamp)
    return left


def _xcoms(*wanted: ColumnElement[bool]) -> Select[Any]:
    from airflow.models.xcom import XComModel
    from sqlalchemy import Text, cast, func, select

    # As they are stored: what a task has left as a class of its own is not made into one here.
    return select(
        *(XComModel.dag_run_id, XComModel.dag_id, XComModel.task_id, XComModel.key),
        *(XComModel.value, XComModel.timestamp),
    ).where(*wanted, XComModel.map_index == -1, func.length(cast(XComModel.value, Text)) < MOST_CHARACTERS)


def _add_results(session: Session, apps: dict[str, AppRecords]) -> None:
    """Add the last result of each DAG that has one for the page."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, func, or_, select

    ways = []
    for kind, (task_id, keys) in _RESULTS.items():
        ids = [f"bluegreen_{kind}__{one.app_id}" for one in apps.values() if kind in one.kinds]
        ways.append(and_(XComModel.dag_id.in_(ids), XComModel.task_id == task_id, XComModel.key.in_(keys)))
    last = (
        select(func.max(XComModel.dag_run_id).label("dag_run_id"))
        .where(or_(*ways))
        .group_by(XComModel.dag_id)
    ).subquery()
    for row in session.execute(_xcoms(or_(*ways), XComModel.dag_run_id.in_(select(last.c.dag_run_id)))):
        app, left = apps[app_of(row.dag_id)], Left(row.value, row.timestamp)
        match kind_of(row.dag_id):
            case "status":
                app.status = left
            case "certificates":
                app.certificates = left
            case _:
                app.dry_run[row.key] = left


def _add_ended(session: Session, apps: dict[str, AppRecords], dag_ids: Collection[str]) -> None:
    """Add the last runs of each app.

    :param dag_ids: the DAGs whose runs count. An event that somebody has made by hand has no DAG.
    """
    from airflow.models.asset import AssetModel
    from sqlalchemy import select

    names = [f"bluegreen_runs__{app_id}" for app_id in apps]
    found = session.execute(select(AssetModel.id, AssetModel.name).where(AssetModel.name.in_(names))).all()
    app_ids = {row.id: app_of(row.name) for row in found}
    numbers = sorted(app_ids)
    for start in range(0, len(numbers), UNION_PARTS):
        for row in session.execute(_events(numbers[start : start + UNION_PARTS], dag_ids)):
            app_id = app_ids[row.asset_id]
            if app_of(row.source_dag_id) == app_id:
                apps[app_id].ended.append(Ended(row.extra, row.timestamp, row.commit))


def _events(asset_ids: Iterable[int], dag_ids: Collection[str]) -> Select[Any]:
    """Return the query for the last events of assets, each with the commit that its run has left."""
    from airflow.models.asset import AssetEvent
    from airflow.models.xcom import XComModel
    from sqlalchemy import Text, and_, cast, func, select, union_all

    parts = [
        select(
            select(AssetEvent.id)
            .where(
                AssetEvent.asset_id == asset_id,
                AssetEvent.source_dag_id.in_(dag_ids),
                AssetEvent.source_task_id == "announce",
            )
            # By the index of an asset's events; a window over all of them would read years of runs.
            .order_by(AssetEvent.timestamp.desc())
            .limit(MOST_ENDED)
            .subquery()
            .c.id
        )
        for asset_id in asset_ids
    ]
    return (
        select(
            *(AssetEvent.asset_id, AssetEvent.source_dag_id, AssetEvent.extra, AssetEvent.timestamp),
            XComModel.value.label("commit"),
        )
        .outerjoin(
            XComModel,
            and_(
                XComModel.dag_id == AssetEvent.source_dag_id,
                XComModel.task_id == "resolve_ref",
                XComModel.run_id == AssetEvent.source_run_id,
                XComModel.map_index == -1,
                XComModel.key == "commit",
            ),
        )
        .where(
            AssetEvent.id.in_(union_all(*parts)),
            func.length(cast(AssetEvent.extra, Text)) < MOST_CHARACTERS,
        )
        .order_by(AssetEvent.timestamp.desc())
    )
