"""Following a run, and what becomes of an API that refuses, is not there, or is something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo import client as module
from demo.client import AirflowClient, Run
from demo.errors import ApiError, ApiUnreachableError, RunTimeoutError
from tests.unit.fake_airflow import FakeApi, serving

RUN = Run("deploy", "run+1", 0.0)
PATH = "/api/v2/dags/deploy/dagRuns/run%2B1"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def client(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowClient]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with serving(api) as address:
        yield AirflowClient(f"http://{address}", "admin", "pw")


def tasks(**states: str | None) -> dict[str, Any]:
    instances = [
        {"task_id": name, "map_index": -1, "state": state, "try_number": 1} for name, state in states.items()
    ]
    return {"task_instances": instances, "total_entries": len(instances)}


def followed(client: AirflowClient, seconds: float = 10) -> list[str]:
    return [f"{task} {task.state}" for task in client.follow(RUN, seconds)]


def test_a_run_is_triggered_with_a_token_and_the_logical_date_that_the_api_demands(
    client: AirflowClient, api: FakeApi
) -> None:
    api.answers["POST /api/v2/dags/deploy/dagRuns"] = {"dag_run_id": "ci-1"}
    run = client.trigger("deploy", {"ref": "v1"}, "ci-1")
    assert run.run_id == "ci-1"
    assert api.seen[1] == (
        "POST /api/v2/dags/deploy/dagRuns",
        "Bearer secret",
        {"logical_date": None, "conf": {"ref": "v1"}, "dag_run_id": "ci-1"},
    )


def test_each_state_change_is_yielded_once_the_last_one_included(client: AirflowClient, api: FakeApi) -> None:
    api.answers[f"GET {PATH}/taskInstances"] = [
        tasks(a=None, b=None),
        tasks(a="running", b=None),
        tasks(a="running", b=None),
        tasks(a="success", b="running"),
        tasks(a="success", b="success"),
    ]
    api.answers[f"GET {PATH}"] = [{"state": "running"}, {"state": "success"}]
    assert followed(client) == ["a running", "a success", "b running", "b success"]
    assert client.wait(RUN) == "success"


def test_a_mapped_task_is_named_by_what_it_is_about(client: AirflowClient, api: FakeApi) -> None:
    mapped = {"task_id": "deploy", "state": "success", "try_number": 1}
    api.answers[f"GET {PATH}/taskInstances"] = {
        "task_instances": [
            {**mapped, "map_index": 0, "rendered_map_index": "green-1"},
            {**mapped, "map_index": 1},
        ],
        "total_entries": 2,
    }
    api.answers[f"GET {PATH}"] = {"state": "success"}
    assert followed(client) == ["deploy[green-1] success", "deploy[1] success"]


def test_a_listing_is_read_to_its_end(client: AirflowClient, api: FakeApi) -> None:
    pages = [{"dags": [{"dag_id": name}], "total_entries": 3} for name in "abc"]
    api.answers["GET /api/v2/dags"] = pages
    assert client.dag_ids() == {"a", "b", "c"}


def test_the_timeout_of_a_run_names_the_tasks_that_hang(client: AirflowClient, api: FakeApi) -> None:
    api.answers[f"GET {PATH}/taskInstances"] = tasks(a="success", b="running")
    with pytest.raises(RunTimeoutError, match=r"deploy run\+1 has not ended after 0.05 s: .*b running"):
        followed(client, 0.05)


def test_a_run_that_airflow_gave_up_has_ended_though_tasks_are_left(
    client: AirflowClient, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVEN_UP_SECONDS", 0.1)
    api.answers[f"GET {PATH}/taskInstances"] = tasks(a="failed", report=None)
    api.answers[f"GET {PATH}"] = {"state": "failed"}
    assert followed(client) == ["a failed"]


def test_a_value_that_no_task_has_left_is_none(client: AirflowClient) -> None:
    assert client.xcom(RUN, "report", "report") is None


def test_the_last_line_is_the_report_s_message(client: AirflowClient, api: FakeApi) -> None:
    path = f"GET {PATH}/taskInstances/report/xcomEntries/report"
    api.answers[path] = {"value": {"message": "deploy of v1: live and confirmed"}}
    assert client.last_line(RUN) == "deploy of v1: live and confirmed"


def test_without_a_report_the_last_line_is_the_first_failed_task_s_error(
    client: AirflowClient, api: FakeApi
) -> None:
    def failed(name: str, ended: str) -> dict[str, Any]:
        return {"task_id": name, "map_index": -1, "state": "failed", "try_number": 2, "end_date": ended}

    api.answers[f"GET {PATH}/taskInstances"] = {
        "task_instances": [failed("later", "2026-01-01T00:00:09Z"), failed("first", "2026-01-01T00:00:01Z")],
        "total_entries": 2,
    }
    error = {"exc_type": "ValueError", "exc_value": "no such thing"}
    events = [{"event": "start"}, {"event": "Task failed", "error_detail": [error]}]
    api.answers[f"GET {PATH}/taskInstances/first/logs/2"] = {"content": events}
    assert client.last_line(RUN) == "first: ValueError: no such thing"


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (400, {"detail": "ref: '' is too short"}, "ref: '' is too short"),
        (409, {"detail": {"reason": "Unique constraint violation"}}, "Unique constraint violation"),
        (422, {"detail": [{"msg": "Field required"}]}, "Field required"),
        (500, "<html>Internal Server Error</html>", "Internal Server Error"),
    ],
)
def test_a_refusal_keeps_its_status_and_its_reason(
    client: AirflowClient, api: FakeApi, status: int, answer: Any, words: str
) -> None:
    api.answers["POST /api/v2/dags/deploy/dagRuns"] = (status, answer)
    with pytest.raises(ApiError, match=words) as caught:
        client.trigger("deploy", {"ref": ""})
    assert caught.value.status == status


def test_a_wrong_password_is_a_refusal(client: AirflowClient, api: FakeApi) -> None:
    api.answers["POST /auth/token"] = (401, {"detail": "Invalid credentials"})
    with pytest.raises(ApiError, match="Invalid credentials") as caught:
        client.dag_ids()
    assert caught.value.status == 401
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("answer", ["<html>hello</html>", "[]"])
def test_another_service_at_the_address_is_recognized(
    client: AirflowClient, api: FakeApi, answer: str
) -> None:
    api.answers["GET /api/v2/monitor/health"] = answer
    with pytest.raises(ApiUnreachableError, match="is not Airflow's API"):
        client.health()


def test_nothing_at_the_address_is_one_line() -> None:
    nobody: Callable[[], object] = AirflowClient("http://127.0.0.1:1", "admin", "pw").health
    with pytest.raises(
        ApiUnreachableError, match=r"^Airflow at http://127.0.0.1:1 does not answer: "
    ) as caught:
        nobody()
    assert "\n" not in str(caught.value)
