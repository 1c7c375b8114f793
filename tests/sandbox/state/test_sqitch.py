"""Migrations by Sqitch in a real PostgreSQL, under load: no request fails, and what fails moves nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluegreen.run.ledger import read_ledger
from demo.client import Run
from demo.environment import APP
from sandbox import Machine
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.judged import judged
from tests.sandbox.stack import RUN_SECONDS, Ended, Stack
from tests.sandbox.state import sqitch
from tests.sandbox.state.services import TABLE, Services
from tests.sandbox.state.sqitch import Change
from tests.sandbox.state.state_fleet import PATHS, Releases
from tests.sandbox.way_back import make_sure_of_a_way_back
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

LEDGER = "/var/lib/bluegreen/ledger.jsonl"
CONTRACT = f"bluegreen_contract__{APP}"
MIGRATIONS = {
    "status": sqitch.command("status", phase="expand"),
    "expand": [sqitch.deploy("expand")],
    "contract": [sqitch.deploy("contract")],
    "keep_warm": 0,
    "timeout": 60,
}
# A statement that waits for a lock gives up; the server ends the statement of a client that was killed.
PGOPTIONS = "-c lock_timeout=2s -c client_connection_check_interval=500ms"
HOLDER = "holder"
# The units of a droplet's jobs, and of what they run in the cage.
JOBS = "'bluegreen-app-*' 'caged-*'"
AT_WORK = r"""
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%pg\_sleep%' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def migrating(stack: Stack, services: Services) -> Iterator[Stack]:
    """The fleet, with the app that counts visits on both colors, and deploys that run Sqitch."""
    make_sure_of_a_way_back(stack)
    # The tests before these may have left another app on either color.
    while any(asks(stack.machines(color)[0], path) != 200 for color in ("blue", "green") for path in PATHS):
        other = "v2" if stack.live_ref() == "v1" else "v1"
        stack.run("deploy", ref=other).expect("live and confirmed")
    changes = {"migrations": MIGRATIONS, "environment": {"PGOPTIONS": PGOPTIONS}}
    with settings(stack, changes, shown=lambda: stack.client.task_ids(DEPLOY)):
        yield stack
    if stack.live_ref() not in ("v1", "v2"):
        stack.run("deploy", ref="v1").expect("live and confirmed")
    services.query(f"DROP SCHEMA {sqitch.REGISTRY} CASCADE; DROP TABLE visits CASCADE")
    services.query(f"SET ROLE {services.database.name}; {TABLE}")


@pytest.fixture(autouse=True)
def _load(migrating: Stack, tmp_path: Path) -> Iterator[None]:
    """Clients that read and write all the time: none of their requests fails, whatever a test does."""
    with judged(migrating.environment.proxy_url(), tmp_path, PATHS) as found:
        yield
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples


@contextmanager
def held(services: Services) -> Iterator[None]:
    """A transaction that nobody ends, and that has read the app's table."""
    statement = "BEGIN; SELECT count(*) FROM visits; SELECT pg_sleep(300)"
    psql = ["runuser", "-u", "postgres", "--", "psql", f"--dbname={services.database.name}"]
    environment = f"--setenv=PGAPPNAME={HOLDER}"
    commands = [word for part in statement.split("; ") for word in ("--command", part)]
    services.machine.run(["systemd-run", "--collect", environment, *psql, *commands])
    mine = f"FROM pg_stat_activity WHERE application_name = '{HOLDER}'"
    until(
        lambda: services.query(f"SELECT count(*) {mine} AND query LIKE '%pg\\_sleep%'") == "1", "it is held"
    )
    try:
        yield
    finally:
        services.query(f"SELECT pg_terminate_backend(pid) {mine}")


def is_at_work(services: Services) -> bool:
    """Whether a change sleeps in the middle of its script."""
    return services.query(AT_WORK) == "1"


def deployed(services: Services, project: str) -> list[str]:
    """The changes that Sqitch has deployed, in their order; one that it has deployed twice is there twice."""
    found = f"FROM sqitch.events WHERE project = '{project}' AND event = 'deploy'"
    return services.query(f"SELECT change {found} ORDER BY committed_at").splitlines()


def asks(machine: Machine, path: str) -> int:
    """Return the status of a droplet's own answer."""
    url = f"http://{machine.private_address}:8080{path}"
    command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url]
    return int(machine.run(command).stdout)


def recorded(stack: Stack, ended: Ended) -> list[int]:
    """The exit statuses of the commands that the ledger has of a run."""
    lines = stack.proxy().run(["cat", LEDGER]).stdout.splitlines()
    [record] = [one for one in read_ledger([map(json.loads, lines)]) if one.run_id == ended.run.run_id]
    assert record.migration is not None
    return [one.exit_status for one in record.migration.ran]


def ended_of(stack: Stack, run: Run) -> Ended:
    client = stack.client
    state = client.wait(run, RUN_SECONDS)
    return Ended(run, state, client.xcom(run, "report", "report"))


def refused(stack: Stack, tag: str) -> str:
    """Deploy a release whose migration fails; return the report's line."""
    live = stack.live()
    ended = stack.run("deploy", ref=tag).expect("refused before the switch")
    assert stack.live() == live
    assert recorded(stack, ended) == [2]
    line: str = ended.report["message"]
    assert "\n" not in line
    print(line)
    return line


def goes_live(stack: Stack, tag: str) -> str:
    """Deploy a release again, without having changed it; return the report's line."""
    idle = stack.idle()
    ended = stack.run("deploy", ref=tag).expect("live and confirmed")
    assert (stack.live(), stack.live_ref()) == (idle, tag)
    line: str = ended.report["message"]
    print(line)
    return line


def test_an_expand_with_both_colors_serving_a_switch_and_a_contract(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    visitor = Change(
        "visitor",
        # What takes long, such as filling a column, does so without a lock that others wait for.
        "ALTER TABLE visits ADD visitor text NOT NULL DEFAULT 'nobody';\nSELECT pg_sleep(3);",
        "SELECT visitor FROM visits WHERE false;",
    )
    no_referrer = Change("no_referrer", "ALTER TABLE visits DROP referrer;", needs="visitors:visitor")
    files = {
        "queries/read.sql": "SELECT count(visitor) FROM visits\n",
        "queries/write.sql": "INSERT INTO visits (visitor) VALUES ('somebody')\n",
    }
    releases.add("visitors", {**sqitch.plans("visitors", [visitor], [no_referrer]), **files}, on="v1")
    live, both = migrating.live(), [migrating.machines(color)[0] for color in ("blue", "green")]
    run = migrating.trigger("deploy", ref="visitors")
    until(lambda: is_at_work(services), "the change is at work", RUN_SECONDS)
    answers = [asks(machine, path) for machine in both for path in PATHS]
    assert is_at_work(services)
    assert (answers, migrating.live()) == ([200] * 4, live)
    ended = ended_of(migrating, run).expect("live and confirmed")
    print(ended.report["message"])
    assert (migrating.live_ref(), deployed(services, "visitors")) == ("visitors", ["visitor"])

    until(lambda: CONTRACT in migrating.client.dag_ids(), "Airflow has read the app's file", 120)
    ended = migrating.run("contract").expect("done")
    print(ended.report["message"])
    assert deployed(services, "visitors_contract") == ["no_referrer"]
    assert asks(migrating.machines(migrating.live())[0], "/visit") == 200
    back = migrating.run("rollback").expect("refused before the switch")
    print(back.report["message"])
    assert "was last live before the contract of" in back.report["message"]


def test_a_change_that_waits_for_a_lock_gives_up_and_moves_nothing(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    change = Change("agent", "ALTER TABLE visits ADD agent text;", "SELECT agent FROM visits WHERE false;")
    releases.add("agents", sqitch.plans("agents", [change]), on="v1")
    with held(services):
        line = refused(migrating, "agents")
    assert "+ agent .." in line
    assert "canceling statement due to lock timeout" in line
    goes_live(migrating, "agents")
    assert deployed(services, "agents") == ["agent"]


def test_a_migration_that_fails_half_way_goes_on_from_there(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    names = "CREATE TABLE names (name text);\nINSERT INTO names VALUES ('Ada'), ('Ada');"
    changes = [
        Change("names", names, "SELECT name FROM names WHERE false;"),
        Change("one_of_each_name", "CREATE UNIQUE INDEX one_of_each_name ON names (name);"),
    ]
    releases.add("names", sqitch.plans("names", changes), on="v1")
    line = refused(migrating, "names")
    assert "+ one_of_each_name .." in line
    assert "could not create unique index" in line
    assert deployed(services, "names") == ["names"]
    services.query("DELETE FROM names")
    assert "(1 pending before, none pending after)" in goes_live(migrating, "names")
    assert deployed(services, "names") == ["names", "one_of_each_name"]
    services.query("DROP TABLE names")


def test_a_migration_whose_worker_is_killed_goes_on_and_runs_once(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    live = migrating.live()
    releases.add("killed_worker", sqitch.plans("killed_worker", [slow("killed_worker", 15)]), on="v1")
    run = migrating.trigger("deploy", ref="killed_worker")
    until(lambda: is_at_work(services), "the change is at work", RUN_SECONDS)
    for worker, tasks in migrating.busy_workers().items():
        for pid in (worker, *tasks):
            os.kill(pid, signal.SIGKILL)
    assert (is_at_work(services), migrating.live()) == (True, live)
    ended = ended_of(migrating, run).expect("live and confirmed")
    print(ended.report["message"])
    assert recorded(migrating, ended) == [0]
    assert deployed(services, "killed_worker") == ["killed_worker"]


def test_a_migration_that_is_given_up_after_airflow_was_killed_is_run_again(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    live, airflow = migrating.live(), migrating.airflow
    releases.add("killed_airflow", sqitch.plans("killed_airflow", [slow("killed_airflow", 20)]), on="v1")
    run = migrating.trigger("deploy", ref="killed_airflow")
    until(lambda: is_at_work(services), "the change is at work", RUN_SECONDS)
    parts = (airflow.scheduler, airflow.dag_processor, airflow.api_server)
    for part in parts:
        part.kill()
    assert (is_at_work(services), migrating.live()) == (True, live)
    for part in parts:
        part.start()
    airflow.wait_healthy()
    migrating.client.mark(run, "failed")
    line = ended_of(migrating, run).report["message"]
    print(line)
    builder = migrating.idle_machines()[0]
    assert f"expand had begun on {builder.name}" in line
    assert builder.run(f"systemctl list-units --all --plain --no-legend {JOBS}").stdout == ""
    until(lambda: not is_at_work(services), "the server has noticed that its client is gone")
    assert (migrating.live(), deployed(services, "killed_airflow")) == (live, [])
    goes_live(migrating, "killed_airflow")
    assert deployed(services, "killed_airflow") == ["killed_airflow"]


def test_a_change_whose_verify_fails_is_taken_back_alone(
    migrating: Stack, services: Services, releases: Releases
) -> None:
    services.query(f"SET ROLE {services.database.name}; CREATE TABLE rates (rate numeric)")
    changes = [
        Change("rated", "CREATE TABLE rated ();", revert="DROP TABLE rated;"),
        Change(
            "doubled", "CREATE TABLE doubled ();", "SELECT 1 / count(*) FROM rates;", "DROP TABLE doubled;"
        ),
    ]
    releases.add("rates", sqitch.plans("rates", changes), on="v1")
    line = refused(migrating, "rates")
    assert "+ doubled .." in line
    assert 'Verify script "db/verify/doubled.sql" failed.' in line
    tables = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE tablename IN ('rated', 'doubled')"
    assert services.query(tables) == "rated"
    services.query("INSERT INTO rates VALUES (1)")
    goes_live(migrating, "rates")
    services.query("DROP TABLE rates, rated, doubled")


def slow(name: str, seconds: int) -> Change:
    """A change that takes long in a transaction, and holds no lock that clients wait for."""
    return Change(name, f"BEGIN;\nCREATE TABLE {name} ();\nSELECT pg_sleep({seconds});\nCOMMIT;")
