"""What is read from Airflow's database: what the reader may read, and by a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from bluegreen.page.reading import MOST_ENDED, read
from bluegreen.page.records import AppRecords, Left
from tests.unit.airflow_database import Database, airflow_database
from tests.unit.page_records import NOW, ago, record

DEPLOY, DRY_RUN, STATUS = (f"bluegreen_{kind}__shop" for kind in ("deploy", "dry_run", "status"))
CERTIFICATES = "bluegreen_certificates__shop"


@pytest.fixture
def database() -> Iterator[Database]:
    """Return a database with the DAGs of the app ``shop`` and one of somebody else."""
    with airflow_database() as made:
        for dag_id in (DEPLOY, DRY_RUN, STATUS, CERTIFICATES, "somebody_elses"):
            made.dag(dag_id)
        yield made


def readable(database: Database, *dag_ids: str) -> list[AppRecords]:
    with database.session() as session:
        return read(session, dag_ids)


def the_app(database: Database) -> AppRecords:
    [app] = readable(database, DEPLOY, DRY_RUN, STATUS, CERTIFICATES)
    return app


def test_the_apps_whose_dags_may_be_read(database: Database) -> None:
    database.dag("bluegreen_deploy__gone", is_stale=True)
    database.dag("bluegreen_deploy__blog")
    database.dag("bluegreen_getting_started")
    database.dag("bluegreenish__x")
    everything = (DEPLOY, DRY_RUN, "bluegreen_deploy__blog", "bluegreen_deploy__gone", "bluegreenish__x")
    found = readable(database, *everything, "bluegreen_getting_started", "somebody_elses")
    assert [(one.app_id, one.kinds) for one in found] == [
        ("blog", {"deploy"}),
        ("shop", {"deploy", "dry_run"}),
    ]
    assert readable(database) == []
    assert readable(database, "somebody_elses") == []


def test_the_last_runs_with_their_commits(database: Database) -> None:
    asset = database.asset("bluegreen_runs__shop")
    for number in range(MOST_ENDED + 3):
        run_id, at = f"manual__{number}", NOW + timedelta(minutes=number)
        run = database.run(DEPLOY, run_id, at)
        database.task(DEPLOY, run_id, "resolve_ref")
        commit = {"key": "commit", "value": f"Change {number}", "timestamp": at}
        database.xcom(run, DEPLOY, run_id, "resolve_ref", **commit)
        database.event(asset, DEPLOY, run_id, record(run_id=run_id), at)
    ended = the_app(database).ended
    assert [one.record["run_id"] for one in ended] == [f"manual__{number}" for number in range(14, 2, -1)]
    assert (ended[0].commit, ended[0].at) == ("Change 14", NOW + timedelta(minutes=14))


def test_events_of_others_are_no_runs_of_the_app(database: Database) -> None:
    """Nightly dry runs are shown elsewhere; whoever may make events in Airflow's API cannot make up a run."""
    database.dag("bluegreen_deploy__blog")
    asset, other = database.asset("bluegreen_runs__shop"), database.asset("bluegreen_runs__blog")
    database.event(asset, DRY_RUN, "scheduled__1", record(), NOW)
    database.event(asset, "somebody_elses", "x", record(), NOW)
    database.event(asset, DEPLOY, "x", record(), NOW, source_dag_id=None)
    database.event(asset, DEPLOY, "x", record(), NOW, source_task_id="mine")
    database.event(asset, DEPLOY, "x", {"message": "x" * 2_000_000}, NOW)
    database.event(other, DEPLOY, "x", record(), NOW)
    apps = readable(database, DEPLOY, DRY_RUN, STATUS, "bluegreen_deploy__blog")
    assert [one.ended for one in apps] == [[], []]


def test_runs_of_dags_that_may_not_be_read_are_not_there(database: Database) -> None:
    asset = database.asset("bluegreen_runs__shop")
    database.event(asset, DEPLOY, "manual__1", record(), NOW)
    database.run(DEPLOY, "manual__2", NOW, "running")
    run = database.run(STATUS, "manual__3", NOW)
    database.task(STATUS, "manual__3", "status")
    database.xcom(run, STATUS, "manual__3", "status", key="return_value", value={}, timestamp=NOW)
    [app] = readable(database, CERTIFICATES)
    assert (app.ended, app.active, app.status, app.kinds) == ([], [], None, {"certificates"})


def test_the_last_result_of_status_and_dry_run_and_certificates(database: Database) -> None:
    for number in (1, 2):
        at, run_id = ago(minutes=10 - number), f"manual__{number}"
        for dag_id, task_id, keys in (
            (STATUS, "status", ("return_value",)),
            (DRY_RUN, "check", ("findings", "summary", "error")),
            (CERTIFICATES, "renew_certificates", ("certificates",)),
        ):
            run = database.run(dag_id, run_id, at)
            database.task(dag_id, run_id, task_id)
            for key in keys:
                database.xcom(run, dag_id, run_id, task_id, key=key, value=f"{key} {number}", timestamp=at)
    # One that died before it found anything out takes the place of none.
    database.run(STATUS, "manual__3", NOW, "failed")
    app = the_app(database)
    at = ago(minutes=8)
    assert app.status == Left("return_value 2", at)
    assert app.dry_run == {"findings": Left("findings 2", at), "summary": Left("summary 2", at)}
    assert app.certificates == Left("certificates 2", at)


def test_a_run_at_work_with_its_tasks_what_they_left_and_its_question(database: Database) -> None:
    run = database.run(DEPLOY, "manual__1", ago(minutes=2), "running", conf={"ref": "v2"})
    database.task(DEPLOY, "manual__1", "resolve_ref", start_date=ago(minutes=2), end_date=ago(minutes=1))
    asked = database.task(DEPLOY, "manual__1", "approval", "awaiting_input")
    database.task(DEPLOY, "manual__1", "deploy", None, map_index=1)
    database.question(asked, "Switch v2 live?", ago(minutes=1))
    database.xcom(
        run, DEPLOY, "manual__1", "resolve_ref", key="commit", value="Fix", timestamp=ago(minutes=1)
    )
    database.xcom(run, DEPLOY, "manual__1", "resolve_ref", key="secret", value="x", timestamp=NOW)
    database.run(DEPLOY, "manual__0", ago(hours=1))
    [active] = the_app(database).active
    assert (active.run_id, active.state, active.since, active.conf) == (
        *("manual__1", "running", ago(minutes=2)),
        {"ref": "v2"},
    )
    assert {(one.task_id, one.map_index, one.state) for one in active.tasks} == {
        ("resolve_ref", -1, "success"),
        ("approval", -1, "awaiting_input"),
        ("deploy", 1, None),
    }
    assert dict(active.left) == {("resolve_ref", "commit"): Left("Fix", ago(minutes=1))}
    assert active.question is not None
    assert (active.question.task_id, active.question.subject) == ("approval", "Switch v2 live?")


def test_the_number_of_queries_does_not_grow_with_the_apps(database: Database) -> None:
    def queries() -> int:
        database.asked.clear()
        with database.session() as session:
            read(session, all_ids)
        return len(database.asked)

    all_ids = [DEPLOY, STATUS]
    database.run(DEPLOY, "manual__1", NOW, "running")
    database.asset("bluegreen_runs__shop")
    one = queries()
    for number in range(100):
        for dag_id in (f"bluegreen_deploy__app{number}", f"bluegreen_status__app{number}"):
            all_ids.append(dag_id)
            database.dag(dag_id)
        asset = database.asset(f"bluegreen_runs__app{number}")
        deploy = f"bluegreen_deploy__app{number}"
        database.event(asset, deploy, "manual__1", record(dag_id=deploy), NOW)
        database.run(deploy, "manual__2", NOW, "running")
    assert queries() == one
    assert one <= 8
