"""What a dry run says of migrations: only what the revision's own code says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.checks import migrations
from bluegreen.checks.facts import Facts
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import PendingMigrations
from bluegreen.checks.render import summary
from bluegreen.settings.migrations import MigrationSettings
from tests.unit.facts import MAIN, facts, load, server
from tests.unit.fleets import V2


def facts_with(found: PendingMigrations | None) -> Facts:
    servers = {"green-1": server(migrations=found, load=load()), "blue-1": server()}
    known = facts(source=MAIN, servers=servers)
    asks = MigrationSettings(status=["sqitch", "status"])
    return replace(known, app=known.app.model_copy(update={"migrations": asks}))


def test_what_is_pending_is_in_the_dry_run_s_line() -> None:
    known = facts_with(PendingMigrations(status=0, pending="3 pending"))
    assert [*migrations.status(known)] == []
    assert not_checked(known) == []
    assert summary([], [], migrations.pending(known)) == "nothing found; migrations of main: 3 pending"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "only its own code knows, and no droplet can run that yet"),
        (PendingMigrations.not_done("green-1 cannot be reached"), "green-1 cannot be reached"),
        (PendingMigrations(status=2, pending="no such database"), "migrations.status failed"),
    ],
)
def test_what_is_not_known_is_listed_and_not_guessed(found: PendingMigrations | None, why: str) -> None:
    known = facts_with(found)
    assert migrations.pending(known) == ""
    assert not_checked(known) == [f"which migrations of main ({V2[:12]}) are pending: {why}"]


def test_a_status_command_that_fails_is_a_warning() -> None:
    [found] = migrations.status(facts_with(PendingMigrations(status=2, pending="no such database")))
    assert (found.severity, found.subject) == ("warning", "green-1")
    assert found.what == "migrations.status ended with 2: no such database"


def test_an_app_without_a_status_command_is_asked_nothing() -> None:
    known = facts(source=MAIN, servers={"green-1": server(load=load())})
    assert (migrations.pending(known), not_checked(known)) == ("", [])
