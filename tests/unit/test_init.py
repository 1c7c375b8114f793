"""What is there before Airflow starts: ``deploy/init.py``, as far as it needs no database."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.init import DEMANDED, demand_secrets


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
    with pytest.raises(SystemExit, match=rf"the secret \S+/{name} is empty.* {name.upper()} in \.env"):
        demand_secrets(secrets)
    (secrets / name).unlink()
    with pytest.raises(SystemExit, match=rf"the secret \S+/{name} is missing.* {name.upper()} in \.env"):
        demand_secrets(secrets)
