"""The DAGs as Airflow reads them from files of apps."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "include" / "apps" / "my_perl_app.yaml.example"


def read_dags() -> DagBag:
    bag = DagBag(ROOT / "dags")
    assert bag.import_errors == {}
    return bag


def dags_of(directory: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> dict[str, DAG]:
    """The DAGs of apps with these files, by the apps' ids."""
    for app, text in files.items():
        text = text.replace("app:my_perl_app", f"app:{app}")
        (directory / f"{app}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(directory))
    return dict(read_dags().dags)
