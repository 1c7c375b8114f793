"""Migrations of an app, on real droplets, through real runs: what fails moves nothing, what dies goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bluegreen.run.ledger import read_ledger
from demo.environment import APP
from sandbox import Machine
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.stack import RUN_SECONDS, SYSTEM_NAME, Ended, Stack, fingerprint
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

# The one place where a command leaves something behind; it stands for the database.
FILE = f"/var/lib/{SYSTEM_NAME}/migrated"
CONTRACT = f"bluegreen_contract__{APP}"
LEDGER = "/var/lib/bluegreen/ledger.jsonl"
SECRET = "hunter2-and-more"
FAIL = f'echo two >>{FILE}; echo "token $MIGRATION_TOKEN"; echo "no such table"; exit 3'
SLOW = f'echo "begin $(id -un) $PWD $PLACK_ENV" >>{FILE}; sleep 20; echo end >>{FILE}'


@pytest.fixture(scope="module")
def migrating(stack: Stack) -> Iterator[Stack]:
    """The fleet of an app whose deploys have a task ``expand``."""
    client = stack.client
    both = {"expand": [["true"]], "contract": [["true"]]}
    with settings(stack, {"migrations": both}, shown=lambda: client.task_ids(DEPLOY)):
        yield stack


@contextmanager
def expand(stack: Stack, *commands: list[str], timeout: int = 60, **changes: Any) -> Iterator[list[Machine]]:
    """Let deploys run these commands; yield the idle droplets, on which nothing was left by earlier ones."""
    machines = stack.idle_machines()
    for machine in machines:
        machine.run(["rm", "-f", FILE])
    with settings(stack, {"migrations": {"expand": list(commands), "timeout": timeout}, **changes}):
        yield machines


def noted(machines: list[Machine]) -> list[list[str]]:
    """What commands have written, by droplet."""
    return [machine.run(["cat", FILE], check=False).stdout.splitlines() for machine in machines]


def recorded(stack: Stack, ended: Ended) -> list[tuple[str, int]]:
    """The commands that the ledger has of a run, each with its exit status."""
    lines = stack.proxy().run(["cat", LEDGER]).stdout.splitlines()
    [record] = [one for one in read_ledger([map(json.loads, lines)]) if one.run_id == ended.run.run_id]
    assert record.migration is not None
    assert record.started is not None
    assert all(record.started <= one.began for one in record.migration.ran)
    return [(one.command, one.exit_status) for one in record.migration.ran]


def test_a_migration_that_fails_half_way_moves_nothing_and_a_dry_run_runs_none(migrating: Stack) -> None:
    live, ref = migrating.live(), migrating.other_ref()
    first = ["bash", "-c", f"echo one >>{FILE}"]
    secret = {"MIGRATION_TOKEN": SECRET}
    with expand(migrating, first, ["bash", "-c", FAIL], environment=secret) as machines:
        migrating.run("deploy", ref=ref, dry_run=True)
        assert noted(machines) == [[], []]
        ended = migrating.run("deploy", ref=ref).expect("refused before the switch")
    assert noted(machines) == [["one", "two"], []]
    message = ended.report["message"]
    assert "ended with 3: token [MIGRATION_TOKEN] / no such table" in message
    assert SECRET not in message
    assert f"expand ran bash -c 'echo one >>{FILE}'" in message
    assert [status for _, status in recorded(migrating, ended)] == [0, 3]
    assert migrating.live() == live


def test_a_migration_that_hangs_is_ended_with_all_that_it_has_started(migrating: Stack) -> None:
    live, ref = migrating.live(), migrating.other_ref()
    hang = ["bash", "-c", "trap '' TERM; sleep 6543 & echo waiting for a lock; wait; wait"]
    with expand(migrating, hang, timeout=2) as machines:
        ended = migrating.run("deploy", ref=ref).expect("refused before the switch")
    expected = "took longer than 2 s (setting migrations.timeout): waiting for a lock"
    assert expected in ended.report["message"]
    assert machines[0].run("pgrep --full '[s]leep 6543'", check=False).stdout == ""
    assert migrating.live() == live


def test_a_migration_goes_on_without_airflow_and_its_run_after_that(migrating: Stack) -> None:
    ref, airflow = migrating.other_ref(), migrating.airflow
    idle = migrating.idle()
    with expand(migrating, ["bash", "-c", SLOW]) as machines:
        run = migrating.trigger("deploy", ref=ref)
        until(lambda: any(noted(machines)), "the migration has begun", RUN_SECONDS)
        parts = (airflow.scheduler, airflow.dag_processor, airflow.api_server)
        for part in parts:
            part.kill()
        for part in parts:
            part.start()
        airflow.wait_healthy()
        client = migrating.client
        client.wait(run, RUN_SECONDS)
    ended = Ended(run, "", client.xcom(run, "report", "report")).expect("live and confirmed")
    # Once, on one droplet, with the new release.
    [begin, end], nothing = noted(machines)
    assert (nothing, end) == ([], "end")
    words = begin.split()
    assert (words[1], words[3]) == (SYSTEM_NAME, "production")
    assert words[2].startswith(f"/opt/{SYSTEM_NAME}/releases/{migrating.revisions[ref]}-")
    assert migrating.live() == idle
    assert f"on {machines[0].name}" in ended.report["message"]
    assert [status for _, status in recorded(migrating, ended)] == [0]


def test_a_contract_runs_with_the_live_release_and_ends_the_way_back(migrating: Stack) -> None:
    until(lambda: CONTRACT in migrating.client.dag_ids(), "Airflow has read the app's file", 120)
    live, idle = migrating.live(), migrating.idle_machines()
    drop = ["bash", "-c", f'echo "$(id -un) $PWD" >>{FILE}']
    for machine in idle:
        machine.run(["rm", "-f", FILE])
    with settings(migrating, {"migrations": {"expand": [["true"]], "contract": [drop]}}):
        refused = migrating.run("contract").expect("failed")
        assert "setting migrations.keep_warm" in refused.report["message"]
        assert noted(idle) == [[], []]
        before = fingerprint(migrating, live)
        ended = migrating.run("contract", i_know=True).expect("done")
        assert fingerprint(migrating, live) == before
    [[ran], nothing] = noted(idle)
    assert nothing == []
    revision = migrating.revisions[migrating.live_ref() or ""]
    assert ran.startswith(f"{SYSTEM_NAME} /opt/{SYSTEM_NAME}/releases/{revision}-")
    assert [status for _, status in recorded(migrating, ended)] == [0]
    back = migrating.run("rollback").expect("refused before the switch")
    assert "was last live before the contract of" in back.report["message"]
    assert migrating.live() == live
