"""The note of a run in Airflow's list of runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.listeners import run_note

SAID = "deploy of v2 (0123456789ab): live and confirmed; live is green"
CONF = {"ref": "v2"}


class Run(SimpleNamespace):
    """A run, as far as its note is concerned; ``dag_run_note`` is the row, ``note`` its text."""

    dag_run_note: Any

    def __init__(self, dag_id: str, conf: Any, author: str | None, text: str = "") -> None:
        row = SimpleNamespace(user_id=author, content=text) if author else None
        super().__init__(dag_id=dag_id, conf=conf, dag_run_note=row, end_date="now")

    @property
    def note(self) -> str | None:
        return self.dag_run_note.content if self.dag_run_note else None

    @note.setter
    def note(self, note: str | tuple[str, str]) -> None:
        if isinstance(note, str):
            self.dag_run_note.content = note
        else:
            self.dag_run_note = SimpleNamespace(content=note[0], user_id=note[1])


class World:
    """Runs that are started and ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report: dict[str, str] | None = {"message": SAID}
        monkeypatch.setattr(run_note, "report_of", lambda _: self.report)
        monkeypatch.setattr(run_note, "is_attached", lambda _: True)

    def run(self, dag_id: str = "bluegreen_deploy__shop", conf: Any = CONF, author: str | None = None) -> Any:
        """A run that has started."""
        run: Any = Run(dag_id, conf, author, "by hand")
        run_note.on_dag_run_running(run, "started")
        return run

    def ended(self, run: Any) -> str | None:
        """The note after the run's end."""
        run_note.on_dag_run_failed(run, "task_failure")
        note: str | None = run.note
        return note


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_runs_note_is_its_reports_message(world: World) -> None:
    run = world.run("bluegreen_rollback__shop", {})
    assert run.note is None
    assert world.ended(run) == SAID
    assert run.dag_run_note.user_id == "bluegreen"


def test_what_a_deploy_is_of_is_noted_while_it_runs_until_its_report_takes_the_place(world: World) -> None:
    run = world.run()
    assert run.note == "deploy of v2"
    assert world.ended(run) == SAID
    run_note.on_dag_run_running(run, "started again")
    assert run.note == "deploy of v2"
    assert world.run(conf={"ref": "v2", "dry_run": True}).note == "dry run of v2"


def test_a_long_report_is_cut_to_what_airflow_stores(world: World) -> None:
    world.report = {"message": "x" * 2000}
    assert len(world.ended(world.run()) or "") == 1000


def test_a_persons_note_stays_and_that_of_an_earlier_attempt_does_not(world: World) -> None:
    assert world.ended(world.run(author="alice")) == "by hand"
    assert world.ended(world.run(author="bluegreen")) == SAID


def test_a_deploy_that_left_no_report_does_not_seem_to_run_for_ever(world: World) -> None:
    world.report = None
    run = world.run()
    run.end_date = None
    assert world.ended(run) == "deploy of v2", "marked failed, its report is yet to come"
    run.end_date = "now"
    assert world.ended(run) == "deploy of v2: ended without a report, see the log of its task report"


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [("bluegreen_rollback__shop", {}), ("bluegreen_deploy__shop", None), ("bluegreen_deploy__shop", {})],
)
def test_a_run_that_is_of_nothing_and_left_no_report_has_no_note(
    world: World, dag_id: str, conf: Any
) -> None:
    world.report = None
    assert world.ended(world.run(dag_id, conf)) is None


def test_other_peoples_dags_have_no_note(world: World) -> None:
    assert world.ended(world.run("etl")) is None
