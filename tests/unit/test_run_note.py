"""The note of a run in Airflow's list of runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen import run_note

SAID = "deploy of v2 (0123456789ab): live and confirmed; live is green"


def note(
    monkeypatch: pytest.MonkeyPatch,
    said: str | None = SAID,
    dag_id: str = "bluegreen_deploy__shop",
    author: str | None = None,
) -> Any:
    """End a run; return the note that was written."""
    monkeypatch.setattr(run_note, "report_of", lambda _: {"message": said} if said else None)
    monkeypatch.setattr(run_note, "is_attached", lambda _: True)
    before = SimpleNamespace(user_id=author) if author else None
    run: Any = SimpleNamespace(dag_id=dag_id, dag_run_note=before, note=None)
    run_note.on_dag_run_failed(run, "task_failure")
    return run.note


def test_a_run_is_noted_as_its_report_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert note(monkeypatch) == (SAID, "bluegreen")


def test_a_long_report_is_cut_to_what_airflow_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = note(monkeypatch, said="x" * 2000)
    assert len(text) == 1000


def test_a_persons_note_stays_and_that_of_an_earlier_attempt_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert note(monkeypatch, author="alice") is None
    assert note(monkeypatch, author="bluegreen") == SAID


def test_a_run_that_left_no_report_and_other_peoples_dags_have_no_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert note(monkeypatch, said=None) is None
    assert note(monkeypatch, dag_id="etl") is None
