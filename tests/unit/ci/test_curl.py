"""The commands of docs/ci.md for curl alone, against an Airflow that refuses, or is never done."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ci_client import curl_commands, report, run_commands
from tests.unit.fake_airflow import FakeApi, serving

RUNS = "/api/v2/dags/bluegreen_deploy__my_perl_app/dagRuns"
RUN = f"{RUNS}/ci-7"
TRIGGER = f"POST {RUNS}"
EXISTS = (409, {"detail": {"reason": "Unique constraint violation"}})
SECONDS = 20


def airflow(outcome: str = "live and confirmed") -> FakeApi:
    """An Airflow in which a run can be triggered, and ends at once."""
    api = FakeApi()
    api.answers |= {
        TRIGGER: {"dag_run_id": "ci-7", "state": "queued"},
        f"GET {RUN}": {"dag_run_id": "ci-7", "state": "success"},
        f"GET {RUN}/taskInstances/report/xcomEntries/report": report(outcome),
    }
    return api


def written(answer: Any) -> Any:
    """Write an answer as Airflow does: grep and sed see each blank."""
    if isinstance(answer, tuple):
        return answer[0], written(answer[1])
    return answer if isinstance(answer, str) else json.dumps(answer, separators=(",", ":"))


def deploy(
    api: FakeApi, directory: Path, *, shell: str = "sh", looks: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the commands against an Airflow; ``looks`` are what they take before they give a run up."""
    commands = curl_commands("ci-7")
    if looks:
        commands, found = re.subn(r"(?m)^looks=\d+$", f"looks={looks}", commands)
        assert found == 1
    api.answers = {request: written(answer) for request, answer in api.answers.items()}
    with serving(api) as address:
        url = f"http://{address}"
        return run_commands(commands, directory, seconds=SECONDS, shell=shell, AIRFLOW_URL=url)


@pytest.mark.parametrize("shell", ["sh", "bash -eo pipefail"])
@pytest.mark.parametrize("outcome", ["live and confirmed", "already live"])
def test_a_revision_that_is_live_is_a_success(tmp_path: Path, outcome: str, shell: str) -> None:
    api = airflow(outcome)
    done = deploy(api, tmp_path, shell=shell)
    assert done.returncode == 0, done.stderr
    assert api.asked("POST") == [(RUNS, {"logical_date": None, "dag_run_id": "ci-7", "conf": {"ref": "v2"}})]
    assert {token for _, token, _ in api.seen[1:]} == {"Bearer secret"}


@pytest.mark.parametrize(("outcome", "code"), [("live and confirmed", 0), ("rolled back", 1)])
def test_a_run_that_exists_is_followed_to_its_outcome(tmp_path: Path, outcome: str, code: int) -> None:
    api = airflow(outcome)
    api.answers[TRIGGER] = EXISTS
    done = deploy(api, tmp_path)
    assert done.returncode == code
    assert "Unique constraint violation" in done.stdout
    assert f'"outcome":"{outcome}"' in done.stderr


@pytest.mark.parametrize("shell", ["sh", "bash -eo pipefail"])
@pytest.mark.parametrize(
    "answer",
    [
        (400, {"detail": "Invalid input for param ref: 'v 2' does not match"}),
        (404, {"detail": "DAG with dag_id: 'bluegreen_deploy__my_perl_app' not found"}),
    ],
)
def test_a_refused_trigger_ends_it_with_the_answer(
    tmp_path: Path, answer: tuple[int, dict[str, str]], shell: str
) -> None:
    api = airflow()
    api.answers[TRIGGER] = answer
    done = deploy(api, tmp_path, shell=shell)
    assert done.returncode == 1
    assert f"{json.dumps(answer[1]['detail'])}}} {answer[0]}" in done.stdout
    assert api.asked("GET") == []


@pytest.mark.parametrize("shell", ["sh", "bash -eo pipefail"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"detail": "Invalid credentials"}), "401"),
        pytest.param("<html>hello</html>", "no token from http://127.0.0.1:", id="another server's page"),
    ],
)
def test_without_a_token_nothing_is_triggered(tmp_path: Path, answer: Any, words: str, shell: str) -> None:
    api = airflow()
    api.answers["POST /auth/token"] = answer
    done = deploy(api, tmp_path, shell=shell)
    assert done.returncode != 0
    assert words in done.stderr
    assert len(api.seen) == 1


def test_a_run_that_stays_queued_is_given_up(tmp_path: Path) -> None:
    api = airflow()
    api.answers[f"GET {RUN}"] = {"dag_run_id": "ci-7", "state": "queued"}
    done = deploy(api, tmp_path, looks=2)
    assert done.returncode == 1
    assert "not over in time; the run goes on" in done.stderr
    assert len(api.asked("GET")) == 2
