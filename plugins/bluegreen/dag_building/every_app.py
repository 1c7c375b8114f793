"""Making the DAGs of every app, a bad app file notwithstanding."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from airflow.sdk import DAG, BaseOperator, chain, task
from airflow.sdk.definitions.mappedoperator import MappedOperator
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
    """Let Airflow show as an import error what is among the app files and makes no app.

    :raises SettingsError: naming each, and what to do.
    """
    if found := [*unused_files(), *_shared_fleets()]:
        raise SettingsError("; ".join(found))


def _shared_fleets() -> list[str]:
    """Return the tags that more than one app takes for its own droplets', each with the apps."""
    apps = defaultdict(list)
    for app_id in app_ids():
        # What else is wrong with its file, the app's own DAGs say.
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

    An app whose file is not usable gets a DAG of the same name that only says so, in its documentation and
    when it is run, so that one app's mistake neither hides it nor takes other apps' DAGs down.

    :param build: makes the DAG from an app's settings.
    :param prefix: the kind of DAG; its id is this, two underscores and the app's id.
    :param only: tells which apps have this kind of DAG; default: all, and those whose file is not usable.
    :return: the DAGs by their ids.
    """
    dags = {}
    for app_id in app_ids():
        try:
            app = load_app(app_id)
            if only and not only(app):
                continue
            dag = documented(build(app))
        except SettingsError as error:
            dag = documented(_broken(f"{prefix}__{app_id}", app_id, str(error)))
        except Exception as error:
            # Whatever one app's settings bring up must not take the other apps' DAGs away.
            _log.exception("%s: its DAG cannot be made", app_id)
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            dag = documented(_broken(f"{prefix}__{app_id}", app_id, f"{app_id}: no DAG comes of it: {why}"))
        if only and dag.task_ids == ["settings"]:
            continue
        # Airflow's default lets a deploy wait until somebody finds a switch, and no dry run begins.
        dag.is_paused_upon_creation = False
        dags[dag.dag_id] = dag
    return dags


def only_after(task: BaseOperator, *upstream: BaseOperator | MappedOperator) -> None:
    """Let a task's trigger rule count these tasks only.

    Airflow's rules count the tasks whose results a task uses, too; those have to be upstream of these.
    """
    for task_id in task.upstream_task_ids - {one.task_id for one in upstream}:
        task.upstream_task_ids.discard(task_id)
        task.dag.get_task(task_id).downstream_task_ids.discard(task.task_id)


def announce(report: ReportOperator) -> None:
    """Let the world know how a run ended, after its report."""
    after = AnnounceOperator(app_id=report.app_id, task_id="announce", subject=report.subject, retries=0)
    # Not one of the tasks that decide how the run ends.
    chain(report, after.as_teardown())


def stop_idle_later(
    app: App, lock: BaseOperator, ends: Sequence[BaseOperator], report: ReportOperator
) -> None:
    """Let the idle color be stopped some time after a run, if the settings say so.

    :param ends: what the judge chooses from. Whichever it is, and however it ends, the idle droplets may run
        something by then.
    """
    if app.seconds_until_stop is not None:
        later = StopIdleLaterOperator(
            app_id=app.id,
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
