"""The figures that are sent of runs, as a StatsD daemon hears them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.observability import stats as airflow_stats
from airflow.observability.metrics.stats_utils import get_stats_factory
from airflow.sdk.observability import stats as task_stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory as get_task_stats_factory

from bluegreen.checks.finding import warning
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.listeners import metrics
from bluegreen.operators import check, lock, report
from bluegreen.operators.support.metrics import Watched, emit
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.settings.app_file import load_app
from bluegreen.settings.hooks import Hook, Hooks
from tests.statsd_sink import Sink
from tests.unit.facts import facts
from tests.unit.locking import acquire
from tests.unit.runs import context
from tests.unit.statuses import status

APP = "my_perl_app"
BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
END = datetime(2026, 11, 23, 3, 1, tzinfo=UTC)
RECORD = {"requests": 1200, "failed": 2, "switch_ms": 41.5, "switched_at": "2026-11-23T03:00:40Z"}


def initialize() -> None:
    airflow_stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
    task_stats.initialize(factory=get_task_stats_factory(), export_legacy_names=True)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """A StatsD daemon that Airflow is told of, as the one variable tells it."""
    with Sink() as sink:
        with monkeypatch.context() as changed:
            for name, value in sink.variables().items():
                changed.setenv(name, value)
            initialize()
            yield sink
        initialize()


def dag_run(dag_id: str = f"bluegreen_deploy__{APP}", **changes: Any) -> Any:
    return SimpleNamespace(dag_id=dag_id, start_date=BEGIN, end_date=END, conf={"ref": "v2"}, **changes)


def end(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any] | None, run: Any = None) -> None:
    monkeypatch.setattr(metrics, "report_of", lambda _: said)
    monkeypatch.setattr(metrics, "is_attached", lambda _: True)
    metrics.on_dag_run_failed(run or dag_run(), "task_failure")


def test_a_run_that_begins_is_due_when_all_its_limits_are_over(sink: Sink) -> None:
    metrics.on_dag_run_running(dag_run(), "started")
    # Waiting for the lock 900, drain 120, build 900, twice health 60, confirmation 90, and 900 to spare.
    assert sink.last() == {f"bluegreen.run.due.deploy.{APP}": BEGIN.timestamp() + 3030}


@pytest.mark.parametrize(
    ("kind", "conf", "seconds"),
    [
        ("deploy", {"require_approval": True}, 3030 + 3600),
        ("deploy", {"bake": 600}, 3030 - 90 + 660),
        ("rollback", {}, 3030 - 120),
        ("provision", {}, 900 + 3 * 600 + 900),
        ("dry_run", {}, 900),
    ],
)
def test_what_a_run_was_asked_for_counts(kind: str, conf: dict[str, Any], seconds: float) -> None:
    assert Watched(kind, APP).longest(load_app(APP), conf) == seconds


def test_commands_of_the_apps_own_have_their_time() -> None:
    commands = [Hook(command=["true"], timeout=100), Hook(command=["true"], timeout=20)]
    app = load_app(APP).model_copy(update={"hooks": Hooks(before_deploy=commands)})
    assert Watched("deploy", APP).longest(app, {}) == 3030 + 120


def test_the_end_of_a_run_clears_its_due_time_and_reports_outcome_and_switch(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(monkeypatch, {"outcome": "live and confirmed", "message": "…", "record": RECORD})
    assert sink.last() == {
        f"bluegreen.run.due.deploy.{APP}": 0,
        f"bluegreen.run.ended.deploy.{APP}.live_and_confirmed": END.timestamp(),
        f"bluegreen.switch.requests.{APP}": 1200,
        f"bluegreen.switch.failed.{APP}": 2,
        f"bluegreen.switch.milliseconds.{APP}": 41.5,
    }


def test_a_run_whose_report_died_ended_without_a_report(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    end(monkeypatch, None)
    assert f"bluegreen.run.ended.deploy.{APP}.ended_without_a_report" in sink.last()


def test_a_run_that_is_marked_failed_has_not_ended_until_its_report_is_done(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dag_run()
    run.end_date = None
    end(monkeypatch, None, run)
    assert sink.last() == {}


@pytest.mark.parametrize("dag_id", ["etl", f"bluegreen_status__{APP}", "bluegreen_deploy__no_such_app"])
def test_no_metrics_of_other_dags_or_of_an_app_without_settings(sink: Sink, dag_id: str) -> None:
    metrics.on_dag_run_running(dag_run(dag_id), "started")
    assert sink.last() == {}


def test_the_lock_is_held_from_when_it_is_got_until_it_is_given_back(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = create_autospec(ProxiesHook, instance=True)
    hook.lock.return_value = {"lb-1": 7}
    monkeypatch.setattr(lock, "ProxiesHook", lambda *_: hook)
    before = datetime.now(UTC).timestamp()
    acquire(60, reachable=True)
    [(name, since)] = sink.last().items()
    assert name == f"bluegreen.lock.since.{APP}"
    assert before - 1 <= since <= before + 60
    report.ReportOperator(task_id="report", app_id=APP, subject="deploy of v2")._unlock(hook)
    assert sink.last() == {f"bluegreen.lock.since.{APP}": 0}


def test_a_look_corrects_since_when_the_lock_is_held_and_counts_what_it_found(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"owner": "alice", "run_id": "r1", "since": 1000.0, "until": 1120.0, "ref": "v2", "token": 7}
    monkeypatch.setattr(check, "collect", lambda *_, **__: facts(statuses={"lb-1": status(lock=left)}))
    found = [warning("lb-1", "is locked", "look"), warning("blue-1", "is slow", "look")]
    monkeypatch.setattr(check, "findings_in", lambda _: found)
    task = check.DryRunOperator(task_id="check", app_id=APP)
    task.act(ThisRun(context()))
    heard = sink.last()
    assert heard[f"bluegreen.lock.since.{APP}"] == 1000
    assert heard[f"bluegreen.dry_run.errors.{APP}"] == 0
    assert heard[f"bluegreen.dry_run.warnings.{APP}"] == 2


def test_nothing_is_sent_unless_metrics_are_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sink() as sink:
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(sink.port))
        initialize()
        emit({"bluegreen.lock.since.shop": 0})
        end(monkeypatch, None)
        assert sink.last() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOST", "no-such-host.invalid"), ("HOST", "198.18.255.254"), ("PORT", "no number"), ("PORT", "9")],
)
def test_a_daemon_that_is_away_fails_no_task(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with monkeypatch.context() as changed:
        changed.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        changed.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
        initialize()
        emit({"bluegreen.lock.since.shop": 0})
        end(monkeypatch, None)
    initialize()
