"""The CI client without what it needs: an Airflow that answers, the right address, credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.ci import trigger_deploy as client
from tests.unit.ci_client import DAG, RUN, Call, arguments
from tests.unit.fake_airflow import FakeApi

INVALID = (403, {"detail": "Invalid JWT token"})
EXPIRED = (401, {"detail": "Token Expired"})

pytestmark = pytest.mark.usefixtures("quick_and_alone")


@pytest.mark.parametrize("answer", [EXPIRED, INVALID])
def test_a_token_that_is_refused_on_the_way_is_replaced(deploy: Call, api: FakeApi, answer: Any) -> None:
    api.answers["POST /auth/token"] = [(201, {"access_token": name}) for name in ("first", "second")]
    api.answers[f"GET {RUN}"] = [{"state": "running"}, answer, {"state": "success"}]
    assert deploy()[0] == 0
    assert [token for request, token, _ in api.seen if request == f"GET {RUN}"] == [
        "Bearer first",
        "Bearer first",
        "Bearer second",
    ]


def test_credentials_that_are_withdrawn_on_the_way_leave_it_unclear(deploy: Call, api: FakeApi) -> None:
    api.answers["POST /auth/token"] = [
        (201, {"access_token": "secret"}),
        (401, {"detail": "Invalid credentials"}),
    ]
    api.answers[f"GET {RUN}"] = [{"state": "running"}, EXPIRED]
    code, lines = deploy()
    assert code == 6
    assert "401 Invalid credentials" in lines[-1]
    assert "it goes on; to follow it: the same call with --run-id=ci-1" in lines[-1]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(None, id="connection closed"),
        (503, "<html>no backend</html>"),
        (500, {"detail": "Internal Server Error"}),
        (429, {"detail": "too many"}),
        (404, "<html>not here</html>"),
        pytest.param("<html>hello</html>", id="another server's page"),
        {"something": "else"},
        [],
    ],
)
def test_trouble_on_the_way_is_waited_out_and_said_once(deploy: Call, api: FakeApi, trouble: Any) -> None:
    one = (200, trouble) if isinstance(trouble, list) else trouble
    api.answers[f"GET {RUN}"] = [{"state": "running"}, one, one, {"state": "success"}]
    code, lines = deploy()
    assert code == 0
    assert sum("does not answer, trying again" in line for line in lines) == 1
    assert sum("answers again" in line for line in lines) == 1


@pytest.mark.parametrize(
    "host", ["airflow.example.org", "10.0.0.1", "localhost.example.org", "[2001:db8::1]", "0"]
)
def test_a_password_is_not_sent_to_another_machine_without_encryption(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        client.main(arguments(f"http://{host}"))
    assert end.value.code == 2
    assert "--url must be https://, or http:// to this machine" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3:8080", "[::1]:8080/airflow"])
def test_this_machine_may_be_asked_without_encryption(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    asked: list[str] = []

    def deploy(arguments: Any) -> int:
        asked.append(arguments.url)
        return 0

    monkeypatch.setattr(client, "_deploy", deploy)
    assert client.main(arguments(f"http://{host}")) == 0
    assert asked == [f"http://{host}"]


def test_trouble_that_does_not_end_is_given_up(deploy: Call, api: FakeApi) -> None:
    api.answers[f"GET {RUN}"] = [{"state": "running"}, (502, "")]
    code, lines = deploy(seconds=3)
    assert code == 7
    assert "502 Bad Gateway" in lines[-1]
    assert lines[-1].endswith(
        "if the run has begun, it goes on; to follow it: the same call with --run-id=ci-1"
    )


@pytest.mark.parametrize("page", ["<html>hello</html>", "[]", ""])
def test_an_address_of_something_else_is_given_up_soon(deploy: Call, api: FakeApi, page: str) -> None:
    api.answers["POST /auth/token"] = page
    code, lines = deploy(seconds=600)
    assert code == 7
    assert lines[-1].endswith("what answers /auth/token is not Airflow's API")


def test_nothing_at_the_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(arguments("http://127.0.0.1:1", seconds=600)) == 7
    [_, last] = capsys.readouterr().out.splitlines()
    assert last.startswith("error: no Airflow at http://127.0.0.1:1: ")
    assert "to follow it" not in last


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        ("POST /auth/token", (401, {"detail": "Invalid credentials"}), "401 Invalid credentials"),
        (f"GET {DAG}/details", (403, {"detail": "Forbidden"}), "403 Forbidden"),
        (f"GET {DAG}/details", (404, {"detail": "no such DAG"}), "404 no such DAG"),
        (
            f"GET {DAG}/details",
            {"is_paused": True, "params": {}},
            "bluegreen_deploy__shop is paused in Airflow",
        ),
        (f"POST {DAG}/dagRuns", (400, {"detail": "ref: 'v 2' does not match"}), "ref: 'v 2' does not match"),
        (f"POST {DAG}/dagRuns", (422, {"detail": [{"msg": "Field required"}]}), "422 Field required"),
    ],
)
def test_a_refusal_keeps_its_reason(
    deploy: Call, api: FakeApi, request_: str, answer: Any, words: str
) -> None:
    api.answers[request_] = answer
    code, lines = deploy()
    assert code == 2
    assert len(lines) == 1
    assert words in lines[0]
    assert "to follow it" not in lines[0]


@pytest.mark.parametrize(
    "detail",
    [
        [{"msg": "no", "input": {"password": "pass phrase"}}],
        "you sent pass phrase and secret",
    ],
)
def test_no_secret_is_printed(deploy: Call, api: FakeApi, detail: Any) -> None:
    api.answers[f"POST {DAG}/dagRuns"] = (422, {"detail": detail})
    printed = " ".join(deploy()[1])
    assert "422" in printed
    assert "pass phrase" not in printed
    assert "secret" not in printed


def test_a_password_may_be_in_a_file(
    deploy: Call, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("from a file\n")
    monkeypatch.delenv("AIRFLOW_PASSWORD")
    monkeypatch.setenv("AIRFLOW_PASSWORD_FILE", str(tmp_path / "password"))
    assert deploy()[0] == 0
    assert api.seen[0] == ("POST /auth/token", None, {"username": "ci", "password": "from a file"})


def test_a_token_is_taken_instead_and_read_again_when_it_is_refused(
    deploy: Call, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    monkeypatch.setenv("AIRFLOW_TOKEN_FILE", str(token))
    known = api.answers[f"GET {DAG}/details"]
    api.answers[f"GET {DAG}/details"] = EXPIRED
    code, lines = deploy()
    assert code == 2
    assert lines == ["error: Airflow refuses AIRFLOW_TOKEN, which may have expired"]

    class Rotated(list[Any]):
        def pop(self, index: Any = -1) -> Any:
            token.write_text("new")
            return super().pop(index)

    api.answers[f"GET {DAG}/details"] = Rotated([EXPIRED, known])
    assert deploy()[0] == 0
    assert not any(request == "POST /auth/token" for request, _, _ in api.seen)
    assert api.seen[-1][1] == "Bearer new"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AIRFLOW_PASSWORD": ""}, "set AIRFLOW_USERNAME and AIRFLOW_PASSWORD, or AIRFLOW_TOKEN"),
        ({"AIRFLOW_PASSWORD_FILE": "/nowhere"}, "AIRFLOW_PASSWORD_FILE cannot be read"),
        ({"AIRFLOW_CA_FILE": "/nowhere"}, "--ca-file /nowhere cannot be used"),
    ],
)
def test_bad_settings_are_refused(
    deploy: Call, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, lines = deploy()
    assert code == 2
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize("url", ["", "airflow", "ftp://airflow", "https://ci:pw@airflow", "https://a/?b"])
def test_an_address_that_is_none_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        client.main(["--app=shop", "--ref=v2", f"--url={url}"])
    assert ended.value.code == 2
    assert "--url must be" in capsys.readouterr().err
