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


TESTS = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py")))
def test_no_test_module_imports_another_test_module(path: str) -> None:
    """What tests share has a module of its own, where a reader finds it."""
    text = (TESTS / path).read_text(encoding="utf-8")
    found = re.findall(
        r"^\s*(?:from|import) tests(?:\.\w+)*\.test_.*|^\s*from tests(?:\.\w+)* import .*\btest_\w+.*",
        text,
        re.MULTILINE,
    )
    assert found == []
