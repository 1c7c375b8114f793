"""Where a DAG moves an app's processes and timers; an app without any has no task for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, chain
from airflow.sdk.definitions.mappedoperator import MappedOperator

from bluegreen.dag_building.every_app import only_after
from bluegreen.operators.move_processes import MoveProcessesOperator
from bluegreen.operators.support.this_run import MOVE_PROCESSES, SETTLE_PROCESSES
from bluegreen.settings.app import App


def settle_processes(
    app: App,
    lock: BaseOperator,
    after: BaseOperator | MappedOperator,
    before: Sequence[BaseOperator],
    **settings: Any,
) -> None:
    """Add the task ``settle_processes``, by which the live color alone runs them before the run goes on.

    :param before: what waits for it. The report does, too, which returns the lock: tasks that are skipped
        wait for nothing.
    :param settings: of the task.
    """
    if app.has_processes:
        settle = MoveProcessesOperator(task_id=SETTLE_PROCESSES, lock=lock.output, **settings)
        chain(after, settle, before)


def move_processes(
    app: App, lock: BaseOperator, ends: Sequence[BaseOperator], report: BaseOperator, **settings: Any
) -> None:
    """Add the task ``move_processes``, by which they follow the traffic.

    :param ends: the tasks after which it is decided where traffic stays.
    :param settings: of the task.
    """
    if app.has_processes:
        move = MoveProcessesOperator(task_id=MOVE_PROCESSES, lock=lock.output, **settings)
        chain(ends, move, report)
        only_after(move, *ends)
