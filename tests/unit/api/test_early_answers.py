"""An answer to an approval that comes within seconds of the question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest
from airflow import plugins_manager
from airflow.api_fastapi.core_api import security
from jwt import InvalidTokenError

from bluegreen.api import early_answers
from bluegreen.api.early_answers import MOST_KEPT, Asked, EarlyAnswers, Question, has_credentials

RUN = "manual__2026-12-01T02:45:59.101778+00:00"
ADDRESS = f"/api/v2/dags/bluegreen_deploy__shop/dagRuns/{RUN}/taskInstances/approval/-1/hitlDetails"
ASKED = Asked("bluegreen_deploy__shop", RUN, "approval")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """What happens to a request, in its order.

    :param questions: what is found by each look; an error is raised.
    :param accepted: whether Airflow accepts the request's credentials.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *questions: Question | Exception | None,
        accepted: bool | Exception = True,
    ) -> None:
        self.steps: list[Any] = []
        self.questions: Iterator[Question | Exception | None] = iter(questions)
        self.accepted = accepted
        self.middleware = EarlyAnswers(self._app, self._look, self._is_accepted)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.steps.append("waited")

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.steps.append("passed on")

    async def _is_accepted(self, scope: Any) -> bool:
        if isinstance(self.accepted, Exception):
            raise self.accepted
        return self.accepted

    def _look(self, asked: Asked) -> Question | None:
        self.steps.append(asked)
        question = next(self.questions)
        if isinstance(question, Exception):
            raise question
        return question

    async def answer(self, path: str = ADDRESS, method: str = "PATCH", kind: str = "http") -> None:
        scope: Any = {"type": kind, "path": path, "method": method}
        if kind != "http":
            del scope["method"]
        await self.middleware(scope, None, None)  # type: ignore[arg-type]

    def ask(self, **request: str) -> list[Any]:
        asyncio.run(self.answer(**request))
        return self.steps


def test_an_early_answer_is_passed_on_once_the_task_has_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    just_now = Question(datetime.now(UTC))
    steps = Server(monkeypatch, Question(None), just_now, Question(LONG_AGO)).ask()
    assert steps == [ASKED, "waited", ASKED, "waited", ASKED, "passed on"]


@pytest.mark.parametrize("question", [None, Question(LONG_AGO)])
def test_an_answer_in_time_and_one_that_nobody_waits_for_are_passed_on_at_once(
    monkeypatch: pytest.MonkeyPatch, question: Question | None
) -> None:
    assert Server(monkeypatch, question).ask()[1:] == ["passed on"]


def test_no_answer_is_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(early_answers, "LONGEST_SECONDS", 0)
    server = Server(monkeypatch)
    server.questions = repeat(Question(None))
    assert "passed on" in server.ask()
    assert f"the answer to 'approval' of 'bluegreen_deploy__shop', run '{RUN}', is passed on" in caplog.text


@pytest.mark.parametrize("error", [OSError("no connection is left"), ImportError("no HITLDetail")], ids=type)
def test_an_answer_is_passed_on_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    assert Server(monkeypatch, error).ask() == [ASKED, "passed on"]
    assert Server(monkeypatch, Question(None), error).ask() == [ASKED, "waited", ASKED, "passed on"]
    assert Server(monkeypatch, accepted=error).ask() == ["passed on"]
    assert caplog.text.count(str(error)) == 3


def test_a_few_answers_wait_at_a_time_and_others_are_passed_on_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    server.questions = repeat(Question(None))

    async def answers() -> None:
        all_wait, answered = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            await server.sleep(seconds)
            if server.steps.count("waited") == MOST_KEPT:
                all_wait.set()
            await answered.wait()

        monkeypatch.setattr(asyncio, "sleep", sleep)
        waiting = [asyncio.create_task(server.answer()) for _ in range(MOST_KEPT)]
        await all_wait.wait()
        looks = server.steps.count(ASKED)
        await server.answer()
        assert (server.steps.count("passed on"), server.steps.count(ASKED)) == (1, looks)
        server.questions = repeat(None)
        answered.set()
        await asyncio.gather(*waiting)
        # There is room again.
        server.steps.clear()
        await server.answer()
        assert server.steps == [ASKED, "passed on"]

    asyncio.run(answers())


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET"},
        {"path": ADDRESS.removesuffix("/hitlDetails")},
        {"path": ADDRESS.replace("bluegreen_deploy__shop", "somebody_elses")},
        {"path": ADDRESS.replace(RUN, "a/b")},
        {"path": ADDRESS.replace("/taskInstances/", "/tasks/")},
        {"path": ADDRESS.replace(RUN, "x" * 1200)},
        {"path": "/dags/bluegreen_a/dagRuns/b" * 3000},
        {"path": "/hitlDetails"},
        {"kind": "websocket"},
        {"kind": "lifespan", "path": ""},
    ],
    ids=lambda request_: str(request_)[:40],
)
def test_other_requests_are_passed_on_without_a_look_and_without_a_question_who_sent_them(
    monkeypatch: pytest.MonkeyPatch, request_: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert Server(monkeypatch, accepted=OSError("was asked")).ask(**request_) == ["passed on"]
    assert caplog.text == ""


def test_an_address_below_another_one_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Server(monkeypatch, None).ask(path=f"/dags/airflow{ADDRESS}") == [ASKED, "passed on"]


def test_the_database_is_asked_nothing_for_a_user_whom_airflow_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Server(monkeypatch, accepted=False).ask() == ["passed on"]


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"authorization": "Bearer good"}, True),
        ({"authorization": "Bearer bad"}, False),
        ({"authorization": "Basic good"}, False),
        ({"cookie": "_token=good"}, True),
        ({"cookie": "_token=bad"}, False),
        ({"cookie": "_token=good", "authorization": "Bearer bad"}, False),
    ],
)
def test_credentials_count_that_airflow_accepts(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], known: bool
) -> None:
    async def user(token: str) -> str:
        if token != "good":
            raise InvalidTokenError
        return "alice"

    monkeypatch.setattr(security, "get_auth_manager", lambda: SimpleNamespace(get_user_from_token=user))
    pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
    scope: Any = {"type": "http", "path": ADDRESS, "method": "PATCH", "headers": pairs}
    assert asyncio.run(has_credentials(scope)) is known


def test_a_task_may_be_answered_some_seconds_after_it_began_to_wait() -> None:
    question = Question(LONG_AGO)
    assert question.early_for(LONG_AGO + timedelta(seconds=3), 8) == 5
    assert question.early_for(LONG_AGO + timedelta(seconds=9), 8) < 0


def test_airflows_api_server_has_it() -> None:
    _, middlewares = plugins_manager.get_fastapi_plugins()
    assert EarlyAnswers in [each["middleware"] for each in middlewares]
