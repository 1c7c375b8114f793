"""When a droplet's job reaches the app's backing services."""

from __future__ import annotations

import pytest

from agent.protocol import Configuration, Program
from bluegreen.release.migrations import Phase, migration_program
from bluegreen.release.release import deploy_program
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.migrations import MigrationSettings
from bluegreen.settings.services import Service

RELEASE = f"{'a' * 40}-{'d' * 16}"
CONFIGURATION: Configuration = {"digest": "c" * 64, "salt": "5" * 64, "variables": {}, "files": []}
SERVICES = {
    "database": Service(address_from="DATABASE_URL"),
    "cache": Service(command=["bin/ping"], timeout=2),
}
MIGRATIONS = MigrationSettings(expand=[["sqitch", "deploy"]], contract=[["sqitch", "deploy"]])


def app_with(services: dict[str, Service]) -> App:
    return load_app("my_perl_app").model_copy(update={"services": services, "migrations": MIGRATIONS})


def verbs(program: Program) -> list[str]:
    return [step["verb"] for step in program["steps"]]


def test_services_are_reached_with_the_release_that_was_loaded_before_it_is_started() -> None:
    app = app_with(SERVICES)
    program = deploy_program(app, RELEASE, "d" * 64, None, CONFIGURATION, "10.0.0.5", "")
    assert verbs(program) == ["install", "load", "services", "activate"]
    _, load, services, _ = (step["request"] for step in program["steps"])
    same = ("app", "unit", "release", "properties")
    assert {key: services[key] for key in same} == {key: load[key] for key in same}
    assert services["services"] == [
        {"name": "database", "kind": "address_from", "value": "DATABASE_URL", "timeout": 5},
        {"name": "cache", "kind": "command", "value": ["bin/ping"], "timeout": 2},
    ]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        # The live release leans on them already.
        (Phase.CONTRACT, ["install", "migrate"]),
        (Phase.EXPAND, ["install", "load", "services", "migrate"]),
    ],
)
def test_services_are_reached_before_a_migration_expands(phase: Phase, expected: list[str]) -> None:
    given = (RELEASE, "d" * 64, None, CONFIGURATION, "10.0.0.5")
    assert verbs(migration_program(app_with(SERVICES), phase, *given)) == expected


def test_an_app_without_services_has_no_such_step() -> None:
    app = app_with({})
    program = deploy_program(app, RELEASE, "d" * 64, None, CONFIGURATION, "10.0.0.5", "")
    assert verbs(program) == ["install", "load", "activate"]
