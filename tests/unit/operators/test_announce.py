"""Who is told how a run ended, and that this never changes how it ended."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from airflow.sdk import DAG, AssetAlias

from bluegreen.operators import announce
from bluegreen.operators.support import notifications
from bluegreen.run.events import Event, event_of
from bluegreen.settings.app_file import load_app
from tests.unit.fake_airflow import FakeApi, serving
from tests.unit.runs import APP, context

MESSAGE = "deploy of v2: rolled back: too many errors; live is blue"
LINK = "https://airflow/dags/deploy/runs/run"


def settings(event: Event, *connections: str) -> Any:
    app = load_app(APP)
    asked = app.notifications.model_copy(update={event.value: list(connections)})
    return app.model_copy(update={"notifications": asked})


def connect(monkeypatch: pytest.MonkeyPatch, name: str, address: str, options: str = "") -> None:
    extra = {"config": {"path": f"json://{address}/hook{options}"}}
    connection = json.dumps({"conn_type": "apprise", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", connection)


def test_a_service_is_sent_the_report_s_line_and_where_to_look_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = FakeApi()
    api.answers["POST /hook"] = {}
    with serving(api) as address:
        connect(monkeypatch, "chat", address)
        notifications.notify(settings(Event.ROLLBACK, "chat"), Event.ROLLBACK, MESSAGE, LINK)
    [(_, sent)] = api.asked("POST")
    assert sent["title"] == "deploy of v2"
    assert sent["message"] == f"{MESSAGE}\n{LINK}"
    assert sent["type"] == "failure"


def test_who_does_not_want_to_hear_of_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    with serving(api) as address:
        connect(monkeypatch, "chat", address)
        notifications.notify(settings(Event.ROLLBACK, "chat"), Event.SUCCESS, MESSAGE, LINK)
    assert api.seen == []


@pytest.mark.parametrize("trouble", ["refuses", "is away", "has no connection", "is no address"])
def test_what_cannot_be_sent_is_a_warning_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    api = FakeApi()
    api.answers["POST /hook"] = {}
    bad = FakeApi()
    bad.answers["POST /hook"] = (500, {})
    with serving(api) as address, serving(bad) as refusing:
        connect(monkeypatch, "chat", address)
        if trouble != "has no connection":
            places = {"refuses": refusing, "is away": "secret-token@127.0.0.1:9", "is no address": ":::"}
            connect(monkeypatch, "broken", places[trouble])
        notifications.notify(settings(Event.FAILURE, "broken", "chat"), Event.FAILURE, MESSAGE, LINK)
    assert len(api.asked("POST")) == 1
    assert "broken was not notified" in caplog.text
    assert "secret-token" not in caplog.text


def test_a_service_that_never_answers_holds_nobody_up_for_long_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "LONGEST_SECONDS", 5.0)
    api = FakeApi()
    api.answers["POST /hook"] = {}
    with serving(api) as address, socket.create_server(("127.0.0.1", 0)) as silent:
        connect(monkeypatch, "chat", address)
        # As somebody may set it for a slow service: it would be waited for as long.
        connect(monkeypatch, "slow", f"127.0.0.1:{silent.getsockname()[1]}", "?rto=3600&cto=3600")
        notifications.notify(settings(Event.APPROVAL, "slow", "chat"), Event.APPROVAL, MESSAGE, LINK)
    assert len(api.asked("POST")) == 1
    assert "slow was not notified: no answer within 5 s" in caplog.text


def test_what_a_library_says_of_its_trouble_is_not_shown_because_addresses_hold_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any, **__: Any) -> bool:
        raise ValueError("cannot send to slack://secret-token")

    monkeypatch.setattr(notifications, "_send", break_down)
    notifications.notify(settings(Event.FAILURE, "chat"), Event.FAILURE, MESSAGE, LINK)
    assert "chat was not notified: ValueError" in caplog.text
    assert "secret-token" not in caplog.text


@pytest.mark.parametrize(
    ("outcome", "good", "dry_run", "event"),
    [
        ("live and confirmed", True, False, Event.SUCCESS),
        ("refused before the switch", False, False, Event.FAILURE),
        ("rolled back", False, False, Event.ROLLBACK),
        ("unclear", False, False, Event.FAILURE),
        ("done", True, False, Event.SUCCESS),
        ("nothing to do", True, False, None),
        ("done", True, True, None),
        ("would succeed", True, True, None),
        ("failed", False, True, Event.DRY_RUN_FAILURE),
    ],
)
def test_the_end_of_a_run_decides_who_is_told(
    outcome: str, good: bool, dry_run: bool, event: Event | None
) -> None:
    assert event_of(outcome, good=good, dry_run=dry_run) is event


class Events(dict[Any, Any]):
    """Airflow's ``outlet_events``, as far as it is used."""

    def __missing__(self, key: Any) -> Any:
        found = type("Accessor", (), {})()
        found.extra, found.added = {}, []
        found.add = lambda asset, extra: found.added.append((asset.name, extra))
        return self.setdefault(key, found)


def announced(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, str], report: Any
) -> tuple[Any, list[tuple[Event, str]]]:
    told: list[tuple[Event, str]] = []
    monkeypatch.setattr(announce, "notify", lambda _app, event, message, _link: told.append((event, message)))
    run: Any = context(states, report=report)
    run["ti"].log_url = f"{LINK}/tasks/announce"
    run["ti"].xcom_pull = lambda task_ids, key="", **_: report if task_ids == "report" else None
    run["outlet_events"] = Events()
    with DAG("deploy", schedule=None):
        task = announce.AnnounceOperator(task_id="announce", app_id=APP, subject="deploy of v2")
    task.execute(run)
    return run["outlet_events"], told


@pytest.mark.parametrize("outcome", ["live and confirmed", "already live"])
def test_every_run_is_an_event_and_only_a_new_live_revision_is_one_of_the_other(
    monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    record = {"run_id": "run", "outcome": outcome}
    heads = {"lb-1": "a" * 64}
    said = {"outcome": outcome, "message": MESSAGE, "record": record, "heads": heads}
    events, told = announced(monkeypatch, {"lock": "success", "report": "success"}, said)
    assert events[announce.run_asset(APP)].extra == {**record, "heads": heads}
    new = [(f"bluegreen_live__{APP}", record)] if outcome == "live and confirmed" else []
    assert events[AssetAlias(f"bluegreen_live__{APP}")].added == new
    assert told == [(Event.SUCCESS, MESSAGE)]


def test_a_run_whose_report_died_is_announced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    events, told = announced(monkeypatch, {"lock": "success", "report": "failed"}, None)
    assert events[announce.run_asset(APP)].extra["outcome"] == "ended without a report"
    [(event, message)] = told
    assert event is Event.FAILURE
    assert message.startswith("deploy of v2: ended without a report")
