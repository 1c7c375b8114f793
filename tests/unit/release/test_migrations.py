"""What a droplet runs in a phase of a migration."""

from __future__ import annotations

import pytest

from agent.protocol import Configuration
from bluegreen.release.migrations import Phase, migration_program, seconds_of
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.migrations import MigrationSettings

RELEASE = f"{'a' * 40}-{'d' * 16}"
CONFIGURATION: Configuration = {"digest": "c" * 64, "salt": "5" * 64, "variables": {}, "files": []}
STATUS = ["sqitch", "status", "--plan-file", "expand.plan"]
MIGRATIONS = MigrationSettings(expand=[["sqitch"]], contract=[["sqitch"]], status=STATUS)


@pytest.fixture
def app() -> App:
    return load_app("my_perl_app").model_copy(update={"migrations": MIGRATIONS})


@pytest.mark.parametrize(("phase", "asked"), [(Phase.EXPAND, STATUS), (Phase.CONTRACT, None)])
def test_what_is_pending_is_asked_beside_an_expand_and_not_beside_a_contract(
    app: App, phase: Phase, asked: list[str] | None
) -> None:
    """The plan of what expands add has nothing pending before a contract that has work to do."""
    program = migration_program(app, phase, RELEASE, "d" * 64, None, CONFIGURATION, "10.0.0.5")
    assert program["steps"][-1]["request"]["status"] == asked


def test_a_contract_has_no_time_for_what_it_does_not_ask(app: App) -> None:
    assert seconds_of(app, Phase.CONTRACT) < seconds_of(app, Phase.EXPAND)
