"""Building the DAGs of every app; a bad app file affects only its own."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, chain, get_parsing_context, task
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.dag_building.task_docs import documented
from bluegreen.errors import SettingsError
from bluegreen.operators.announce import AnnounceOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.operators.stop_idle import StopIdleLaterOperator
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.app_files import app_ids, unused_files

# Only transient errors are retried (see failures_reported), so the delay is short.
DEFAULT_ARGS = {"retries": 2, "retry_delay": timedelta(seconds=2), "owner": "bluegreen"}


_log = logging.getLogger(__name__)


def refuse_unused_files() -> None:
    """Raise an import error for Airflow to show, if there are files that are not app files.

    :raises SettingsError: naming each file, and what to do.
    """
    if found := [*unused_files(), *_shared_fleets()]:
        raise SettingsError("; ".join(found))


def _shared_fleets() -> list[str]:
    """Return a line for each tag that more than one app uses for its droplets."""
    apps = defaultdict(list)
    for app_id in app_ids():
        # The app's own DAGs report everything else that is wrong with its file.
        with suppress(Exception):
            apps[load_app(app_id).fleet.tags.app.casefold()].append(app_id)
    return [
        f"fleet.tags.app is {tag!r} for {' and '.join(ids)}, which would deploy to each other's droplets; "
        "give each a tag of its own (DigitalOcean ignores case)"
        for tag, ids in apps.items()
        if len(ids) > 1
    ]


def dags_for_every_app(
    build: Callable[[App], DAG], prefix: str, only: Callable[[App], bool] | None = None
) -> dict[str, DAG]:
    """Build one kind of DAG for each app file.

    An app whose file is not usable gets a DAG of the same name that reports the error, in its documentation
    and when it is run. So one app's mistake neither hides it nor affects other apps' DAGs.
    In a task's process, only the DAG of that task is built.

    :param build: builds the DAG from an app's settings.
    :param prefix: the kind of DAG; its id is this, two underscores and the app's id.
    :param only: whether an app has this kind of DAG; default: all apps, including unusable ones.
    :return: the DAGs by their ids.
    """
    dags = {}
    of_the_task = get_parsing_context().dag_id
    for app_id in app_ids():
        dag_id = f"{prefix}__{app_id}"
        if of_the_task not in (None, dag_id):
            continue
        try:
            app = load_app(app_id)
            if only and not only(app):
                continue
            dag = documented(build(app))
        except SettingsError as error:
            dag = documented(_broken(dag_id, app_id, str(error)))
        except Exception as error:
            # No error of one app may remove the DAGs of other apps.
            _log.exception("%s: its DAG cannot be made", app_id)
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            dag = documented(_broken(dag_id, app_id, f"{app_id}: no DAG comes of it: {why}"))
        if only and dag.task_ids == ["settings"]:
            continue
        # By default Airflow pauses new DAGs: a deploy would wait in the queue, and no dry run would begin.
        dag.is_paused_upon_creation = False
        dags[dag.dag_id] = dag
    return dags


@contextmanager
def dag_of(
    kind: str,
    app: App,
    doc: str | None,
    *,
    schedule: str | None = None,
    params: Mapping[str, Param] | None = None,
    **settings: Any,
) -> Iterator[DAG]:
    """Make one DAG of an app; the tasks that are made in the ``with`` block are its tasks, and the app's.

    :param kind: with the app's id, the DAG's id.
    :param doc: the module's documentation, shown in Airflow.
    :param schedule: when Airflow begins runs by itself; default: never.
    :param params: the parameters of its runs.
    :param settings: other arguments of this kind of DAG.
    """
    with DAG(
        f"bluegreen_{kind}__{app.id}",
        schedule=schedule,
        **{"max_active_runs": 1, **settings},
        default_args=DEFAULT_ARGS | {"app_id": app.id},
        doc_md=doc,
        tags=["bluegreen", app.id],
    ) as dag:
        yield dag
    # After its tasks are made: Airflow copies a DAG's parameters for each class of each task. That is half of
    # the work of reading the DAG's file, which every task of every run does.
    dag.params = ParamsDict(params)


def only_after(task: BaseOperator, *upstream: BaseOperator | MappedOperator) -> None:
    """Make a task's trigger rule count only the given tasks.

    Airflow's rules also count the tasks whose results a task uses; those have to be upstream of the others.
    """
    for task_id in task.upstream_task_ids - {one.task_id for one in upstream}:
        task.upstream_task_ids.discard(task_id)
        task.dag.get_task(task_id).downstream_task_ids.discard(task.task_id)


def report_and_announce(subject: str, **good_end: Any) -> ReportOperator:
    """Return the task that reports how a run ended, and decides so; the task that announces it follows.

    :param subject: what the run is to do; templated.
    :param good_end: which end of a run is a good one, see :class:`ReportOperator`.
    """
    report = ReportOperator(task_id="report", subject=subject, **good_end)
    # Not one of the tasks that decide how the run ends.
    announce = AnnounceOperator(task_id="announce", subject=subject, retries=0).as_teardown()
    chain(report.as_teardown(on_failure_fail_dagrun=True), announce)
    return report


def stop_idle_later(
    app: App, lock: BaseOperator, ends: Sequence[BaseOperator], report: ReportOperator
) -> None:
    """Add the task that schedules a stop of the idle color, if the settings ask for one.

    :param ends: the tasks that the judge chooses from. After each of them, however it ended, the idle
        droplets may run a release.
    """
    if app.seconds_until_stop is not None:
        later = StopIdleLaterOperator(
            task_id="stop_idle_later",
            seconds=app.seconds_until_stop,
            lock=lock.output,
            trigger_rule="one_done",
        )
        chain(ends, later, report)
        only_after(later, *ends)


def _broken(dag_id: str, app_id: str, message: str) -> DAG:
    with DAG(
        dag_id,
        schedule=None,
        doc_md=f"**The settings of this app are not usable.** {message}",
        tags=["bluegreen", app_id, "broken settings"],
    ) as dag:

        @task(task_id="settings")
        def settings() -> None:
            raise AirflowFailException(message)

        settings()
    return dag
