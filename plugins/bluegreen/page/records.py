"""What Airflow's database has about an app: the page shows nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Left:
    """An XCom: whatever a task, or somebody who may edit XComs, has left.

    :param at: when it was written.
    """

    value: Any
    at: datetime


@dataclass(frozen=True)
class Ended:
    """The record of a run that has ended, as its asset event has it.

    :param commit: the subject of the commit that the run deployed, if the run has found out.
    """

    record: Any
    at: datetime
    commit: Any = None


@dataclass(frozen=True)
class TaskState:
    """A task instance of a run that is at work.

    :param state: Airflow's word; ``None`` if it has not been scheduled.
    """

    task_id: str
    map_index: int
    state: str | None
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Question:
    """An approval that a run waits for.

    :param since: when it was asked for.
    """

    task_id: str
    subject: str
    since: datetime


@dataclass(frozen=True)
class ActiveRun:
    """A run that has not ended.

    :param state: Airflow's word, ``queued`` or ``running``.
    :param since: when it began, or was asked for.
    :param by: who triggered it, or what else did.
    :param conf: what it was triggered with.
    :param left: its XComs by task and key.
    """

    dag_id: str
    run_id: str
    state: str
    since: datetime
    by: str
    conf: Any = None
    tasks: tuple[TaskState, ...] = ()
    left: Mapping[tuple[str, str], Left] = field(default_factory=dict)
    question: Question | None = None

    @property
    def kind(self) -> str:
        """The kind of the DAG: ``deploy``, ``rollback`` …."""
        return kind_of(self.dag_id)


@dataclass
class AppRecords:
    """What a reader of the page may know about an app.

    :param kinds: the app's DAGs that the reader may read: ``deploy``, ``status`` …
    :param ended: the last runs, the latest first; no runs of the nightly dry run.
    :param status: the last result of the status DAG.
    :param dry_run: ``summary`` and ``findings`` of the last dry run, each as far as it left one.
    """

    app_id: str
    kinds: set[str] = field(default_factory=set)
    ended: list[Ended] = field(default_factory=list)
    active: list[ActiveRun] = field(default_factory=list)
    status: Left | None = None
    dry_run: dict[str, Left] = field(default_factory=dict)
    certificates: Left | None = None


def kind_of(dag_id: str) -> str:
    """Return the kind of a DAG by its id."""
    return dag_id.removeprefix("bluegreen_").partition("__")[0]


def app_of(dag_id: str) -> str:
    """Return the app of a DAG by its id, or an empty text if it is none of an app."""
    return dag_id.partition("__")[2] if dag_id.startswith("bluegreen_") else ""
