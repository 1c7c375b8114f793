"""What may import what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bluegreen

PACKAGE = Path(str(bluegreen.__file__)).parent
DOMAIN = ("", "fleet", "release", "run", "settings", "source", "traffic", "validation")


def paths(*folders: str) -> list[str]:
    found = [path for folder in folders for path in (PACKAGE / folder).glob("*.py")]
    assert found
    return sorted(str(path.relative_to(PACKAGE)) for path in found)


def imported(path: str, packages: str) -> list[str]:
    text = (PACKAGE / path).read_text(encoding="utf-8")
    return re.findall(rf"^\s*(?:from|import) (?:{packages})\b.*", text, re.MULTILINE)


@pytest.mark.parametrize("path", paths(*DOMAIN))
def test_the_domain_is_plain_python(path: str) -> None:
    assert (
        imported(path, r"airflow|bluegreen\.(?:checks|dag_building|hooks|listeners|operators|sensors)") == []
    )


@pytest.mark.parametrize("path", paths("checks"))
def test_only_what_gathers_facts_asks_machines(path: str) -> None:
    assert imported(path, r"airflow|bluegreen\.(?:dag_building|hooks|listeners|operators|sensors)") == []


@pytest.mark.parametrize("path", paths("hooks", "checks/gather"))
def test_hooks_know_nothing_of_tasks(path: str) -> None:
    assert imported(path, r"bluegreen\.(?:dag_building|listeners|operators|sensors)") == []


@pytest.mark.parametrize("path", paths("operators", "operators/support", "sensors"))
def test_tasks_know_nothing_of_how_dags_are_built(path: str) -> None:
    assert imported(path, r"bluegreen\.(?:dag_building|listeners)") == []
