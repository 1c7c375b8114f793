"""The CI client against an Airflow that does what a real one cannot be made to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.ci import trigger_deploy as client
from tests.unit.ci_client import (
    CREDENTIALS,
    DAG,
    REPORT,
    RUN,
    airflow_with_a_run,
    arguments,
    report,
    task,
    tasks,
)
from tests.unit.fake_airflow import FakeApi, serving

INVALID = (403, {"detail": "Invalid JWT token"})
EXPIRED = (401, {"detail": "Token Expired"})

Call = Callable[..., tuple[int, list[str]]]


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(client, "FIRST_ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(client, "_secrets", set())
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def api() -> FakeApi:
    return airflow_with_a_run()


@pytest.fixture
def url(api: FakeApi) -> Iterator[str]:
    with serving(api) as address:
        yield f"http://{address}"


@pytest.fixture
def deploy(url: str, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*more: str, **options: Any) -> tuple[int, list[str]]:
        code = client.main(arguments(url, *more, **options))
        return code, capsys.readouterr().out.splitlines()

    return call


def test_a_deploy_is_triggered_followed_and_ends_with_its_last_line(
    deploy: Call, api: FakeApi, url: str
) -> None:
    api.answers[f"GET {RUN}/taskInstances"] = [
        tasks(task("lock", "running")),
        tasks(task("lock", "success"), task("deploy", "running", map_index=0, rendered_map_index="shop-1")),
        tasks(task("lock", "success"), task("deploy", "success", map_index=0, rendered_map_index="shop-1")),
    ]
    code, lines = deploy()
    assert code == 0
    assert api.asked("POST") == [
        (f"{DAG}/dagRuns", {"logical_date": None, "dag_run_id": "ci-1", "conf": {"ref": "v2"}})
    ]
    assert lines[0] == f"triggered ci-1: {url}/dags/bluegreen_deploy__shop/runs/ci-1"
    assert [line.split()[1:] for line in lines[1:-1]] == [
        ["lock", "running"],
        ["lock", "success", "1.5", "s"],
        ["deploy[shop-1]", "running"],
        ["deploy[shop-1]", "success", "1.5", "s"],
    ]
    assert lines[-1] == "the last line"


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [
        ("already live", "success", 0),
        ("refused before the switch", "failed", 3),
        ("rolled back", "failed", 4),
        ("refused by policy", "failed", 8),
        ("unclear", "failed", 6),
        ("bad, but there is nothing to go back to", "failed", 6),
        ("something new", "success", 6),
        # Marked failed by hand after the switch was confirmed.
        ("live and confirmed", "failed", 6),
    ],
)
def test_each_outcome_has_its_exit_status(
    deploy: Call, api: FakeApi, outcome: str, state: str, code: int
) -> None:
    api.answers |= airflow_with_a_run(outcome, state).answers
    assert deploy()[0] == code


def test_a_run_that_ends_without_a_report_is_unclear(deploy: Call, api: FakeApi) -> None:
    api.answers[REPORT] = (404, {"detail": "XCom entry with key: `report` not found"})
    code, lines = deploy()
    assert code == 6
    assert "ended (success) without a report: http" in lines[-1]


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [("would succeed", "success", 0), ("refused before the switch", "failed", 3)],
)
def test_a_dry_run_tells_by_its_status_whether_a_deploy_would_succeed(
    deploy: Call, api: FakeApi, outcome: str, state: str, code: int
) -> None:
    api.answers |= airflow_with_a_run(outcome, state).answers
    assert deploy("--param=dry_run=true")[0] == code
    [(_, body)] = api.asked("POST")
    assert body["conf"] == {"ref": "v2", "dry_run": True}


def test_a_run_that_exists_is_followed(deploy: Call, api: FakeApi) -> None:
    api.answers[f"POST {DAG}/dagRuns"] = (409, {"detail": {"reason": "Unique constraint violation"}})
    api.answers[f"GET {RUN}"] = {"state": "success", "conf": {"ref": "v2"}}
    code, lines = deploy()
    assert code == 0
    assert lines[0].startswith("ci-1 exists, following it: ")
    assert lines[-1] == "the last line"


def test_a_run_of_this_id_that_deploys_something_else_is_not_followed(deploy: Call, api: FakeApi) -> None:
    api.answers[f"POST {DAG}/dagRuns"] = (409, {"detail": {"reason": "Unique constraint violation"}})
    api.answers[f"GET {RUN}"] = {"state": "success", "conf": {"ref": "v1"}}
    code, lines = deploy()
    assert code == 2
    assert lines == ["error: ci-1 exists and deploys 'v1': use another --run-id"]


def test_other_parameters_of_the_dag_may_be_given_and_no_unknown_ones(deploy: Call, api: FakeApi) -> None:
    assert deploy("--param=force=true", "--param=reason=it is time")[0] == 0
    [(_, body)] = api.asked("POST")
    assert body["conf"] == {"ref": "v2", "force": True, "reason": "it is time"}
    code, lines = deploy("--param=froce=true")
    assert (code, lines) == (2, ["error: bluegreen_deploy__shop has no parameter froce"])
    assert len(api.asked("POST")) == 1


def test_a_lost_answer_to_the_trigger_does_not_deploy_twice(deploy: Call, api: FakeApi) -> None:
    api.answers[f"POST {DAG}/dagRuns"] = [None, (409, {"detail": {"reason": "Unique constraint violation"}})]
    api.answers[f"GET {RUN}"] = {"state": "success", "conf": {"ref": "v2"}}
    code, lines = deploy()
    assert code == 0
    assert "ci-1 exists, following it" in " ".join(lines)


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
    code, lines = deploy(seconds=1)
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


def test_a_run_that_takes_too_long_says_what_it_does_and_goes_on(deploy: Call, api: FakeApi) -> None:
    api.answers[f"GET {RUN}"] = {"state": "running"}
    api.answers[f"GET {RUN}/taskInstances"] = tasks(task("resolve_ref", "success"), task("lock", "running"))
    code, lines = deploy(seconds=1)
    assert code == 5
    assert "not over in time: the run is running: lock running; if the run has begun, it goes on" in lines[-1]
    assert api.asked("PATCH") == []


def test_a_long_wait_shows_signs_of_life(deploy: Call, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SIGN_OF_LIFE_SECONDS", 0.0)
    api.answers[f"GET {RUN}/taskInstances"] = tasks(task("lock", "running"))
    assert any("the run is running: lock running" in line for line in deploy()[1])


def test_states_that_nobody_expects_are_shown_as_they_are(deploy: Call, api: FakeApi) -> None:
    api.answers[f"GET {RUN}/taskInstances"] = tasks(
        task("first", "restarting", try_number=2),
        task("second", "a word of tomorrow", map_index=3),
        task("third", "upstream_failed"),
        task("fourth", None, try_number=0),
    )
    lines = [" ".join(line.split()[1:]) for line in deploy()[1][1:-1]]
    assert lines == ["first restarting attempt 2", "second[3] a word of tomorrow"]


def test_a_wait_for_an_approval_is_one_line_and_what_a_run_that_takes_too_long_does(
    deploy: Call, api: FakeApi
) -> None:
    api.answers[f"GET {RUN}"] = {"state": "running"}
    api.answers[f"GET {RUN}/taskInstances"] = tasks(
        task("preview_check", "success"), task("approval", "awaiting_input")
    )
    code, lines = deploy(seconds=1)
    assert code == 5
    waits = "approval waits for an approval, see Required Actions in Airflow"
    assert [" ".join(line.split()[1:]) for line in lines[2:-1]] == [waits]
    assert f"not over in time: the run is running: {waits}; if the run has begun" in lines[-1]


def test_a_listing_is_read_to_its_end(deploy: Call, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    api.answers[f"GET {RUN}"] = {"state": "success"}
    api.answers[f"GET {RUN}/taskInstances"] = [
        tasks(task("a", "success"), task("b", "success")),
        tasks(task("c", "success")),
    ]
    assert [line.split()[1] for line in deploy()[1][1:-1]] == ["a", "b", "c"]


def test_a_message_is_one_line_whatever_is_in_it(deploy: Call, api: FakeApi) -> None:
    api.answers[REPORT] = report("rolled back", "bad\n::set-env name=PATH::evil\x1b[2J")
    assert deploy()[1][-1] == "bad ::set-env name=PATH::evil [2J"


def test_cancelling_marks_the_run_failed_and_follows_it(deploy: Call, api: FakeApi) -> None:
    api.answers |= airflow_with_a_run("rolled back", "failed").answers
    api.answers[f"PATCH {RUN}"] = {"state": "failed"}
    code, lines = deploy("--cancel")
    assert code == 4
    assert api.asked("PATCH") == [(RUN, {"state": "failed"})]
    assert api.asked("POST") == []
    assert lines[0].startswith("cancelled: ")


def test_a_run_that_has_ended_is_not_cancelled(deploy: Call, api: FakeApi) -> None:
    api.answers[f"GET {RUN}"] = {"state": "success"}
    assert deploy("--cancel")[0] == 0
    assert api.asked("PATCH") == []


def test_cancelling_a_run_that_is_not_there_is_refused(deploy: Call, api: FakeApi) -> None:
    api.answers[f"GET {RUN}"] = (404, {"detail": "The DagRun was not found"})
    code, lines = deploy("--cancel")
    assert code == 2
    assert "The DagRun was not found" in lines[-1]


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


def test_the_run_id_is_the_same_for_each_call_of_one_job_and_no_other() -> None:
    github = {"GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "2"}
    assert client.run_id_for("v2", github) == client.run_id_for("v2", github) == "ci-v2-77.2"
    assert client.run_id_for("v2", {"CI_JOB_ID": "5"}) == "ci-v2-5"
    refs = ["a/b", "a-b", "a@b", "a_b", "a.b", "a#b", "a;b"]
    assert len({client.run_id_for(ref, github) for ref in refs}) == len(refs)
    # What Airflow takes as a run id, whatever is asked for; the ref itself is refused with its own words.
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", client.run_id_for("x y\n" * 100, github))
