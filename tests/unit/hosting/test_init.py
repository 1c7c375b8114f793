"""What is there before Airflow starts: ``hosting/init.py``, as far as it needs no database."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosting import init
from hosting.init import DEMANDED, demand_secrets, demand_workers


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """All that is demanded."""
    for name in DEMANDED:
        (tmp_path / name).write_text("something")
    return tmp_path


def test_nothing_is_said_when_every_secret_is_there(secrets: Path) -> None:
    demand_secrets(secrets)


@pytest.mark.parametrize("name", DEMANDED)
def test_a_secret_without_a_value_ends_the_start_by_its_name(secrets: Path, name: str) -> None:
    (secrets / name).write_text("\n")
    with pytest.raises(SystemExit, match=rf"the secret \S+/{name} is empty.* in secrets/{name}"):
        demand_secrets(secrets)
    (secrets / name).unlink()
    with pytest.raises(SystemExit, match=rf"the secret \S+/{name} is missing.* in secrets/{name}"):
        demand_secrets(secrets)


def test_the_newline_that_an_editor_adds_is_no_part_of_a_password(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "SECRETS", secrets)
    (secrets / "ci_password").write_text("a word\n")
    assert init.secret("ci_password") == "a word"


@pytest.mark.parametrize(
    ("profiles", "executor", "fits"),
    [
        ("", "LocalExecutor", True),
        ("sandbox", "LocalExecutor", True),
        ("celery", "CeleryExecutor", True),
        ("sandbox,celery", "CeleryExecutor", True),
        ("*", "CeleryExecutor", True),
        ("celery", "LocalExecutor", False),
        ("", "CeleryExecutor", False),
        ("sandbox", "CeleryExecutor", False),
    ],
)
def test_workers_without_tasks_and_tasks_without_workers_end_the_start(
    profiles: str, executor: str, fits: bool
) -> None:
    environment = {"COMPOSE_PROFILES": profiles, "AIRFLOW__CORE__EXECUTOR": executor}
    if fits:
        demand_workers(environment)
        return
    with pytest.raises(SystemExit, match="both or neither"):
        demand_workers(environment)


def test_a_plain_host_is_asked_for_no_profiles() -> None:
    demand_workers({"AIRFLOW__CORE__EXECUTOR": "LocalExecutor"})
