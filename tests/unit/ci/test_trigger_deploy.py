"""The CI client against an Airflow that does what a real one cannot be made to do."""

from __future__ import annotations

import re

import pytest

from examples.ci import trigger_deploy as client
from tests.unit.ci_client import DAG, REPORT, RUN, Call, airflow_with_a_run, report, task, tasks
from tests.unit.fake_airflow import FakeApi

pytestmark = pytest.mark.usefixtures("quick_and_alone")


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


def test_the_run_id_is_the_same_for_each_call_of_one_job_and_no_other() -> None:
    github = {"GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "2"}
    assert client.run_id_for("v2", github) == client.run_id_for("v2", github) == "ci-v2-77.2"
    assert client.run_id_for("v2", {"CI_JOB_ID": "5"}) == "ci-v2-5"
    refs = ["a/b", "a-b", "a@b", "a_b", "a.b", "a#b", "a;b"]
    assert len({client.run_id_for(ref, github) for ref in refs}) == len(refs)
    # What Airflow takes as a run id, whatever is asked for; the ref itself is refused with its own words.
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", client.run_id_for("x y\n" * 100, github))
