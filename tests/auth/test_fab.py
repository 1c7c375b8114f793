"""The CI client and its role in an API server with the FAB auth manager, as production has it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
import requests

from demo import database
from demo.airflow_settings import ROOT, Home, environment
from demo.session import Part
from tests.unit.ci_client import start
from tests.waiting import until

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ROLE = ROOT / "examples" / "ci" / "airflow-role.json"
# An API server takes 15 s to start, and ten times that beside other work.
SECONDS = 300

# Airflow's command line takes 4 s to start, so all commands share one.
COMMANDS = """
import json, sys
from airflow.cli import cli_parser
parser = cli_parser.get_parser()
for argv in json.load(sys.stdin):
    command = parser.parse_args(argv)
    command.func(command)
"""


@dataclass(frozen=True)
class Airflow:
    """An API server that nobody schedules for: runs stay queued.

    :param password: of ``ci``, who has the documented role and no other, and of ``canceller``, who may cancel
        too.
    """

    url: str
    password: str
    home: Home

    def client(self, *more: str, user: str = "ci", password: str = "") -> tuple[int, list[str]]:
        """Return exit status and output of the client."""
        process = start(
            "--app=my_perl_app",
            "--ref=v2",
            *more,
            AIRFLOW_URL=self.url,
            AIRFLOW_USERNAME=user,
            AIRFLOW_PASSWORD=password or self.password,
        )
        printed, _ = process.communicate(timeout=SECONDS)
        return process.returncode, printed.splitlines()

    def end_runs(self) -> None:
        """Let all runs have failed."""
        with closing(sqlite3.connect(self.home.database)) as connection, connection:
            connection.execute("UPDATE dag_run SET state = 'failed'")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow set up with the commands of docs/ci.md."""
    home, password = Home(tmp_path_factory.mktemp("fab")), secrets.token_urlsafe(12)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    extra = {"AIRFLOW__CORE__AUTH_MANAGER": FAB, "BLUEGREEN_APPS_DIR": os.environ["BLUEGREEN_APPS_DIR"]}
    variables = environment(home, port, extra=extra)
    database.copy(database.prepare(), home.database)
    cancelling = home.directory / "role.json"
    cancelling.write_text(
        ROLE.read_text()
        .replace("can_create,can_read", "can_create,can_read,can_edit")
        .replace("deploy my", "cancel my")
    )
    commands = [
        ["fab-db", "migrate"],
        ["dags", "reserialize"],
        *(["roles", "import", str(file)] for file in (ROLE, cancelling)),
        ["users", "create", *_user("ci", "deploy my_perl_app", password)],
        ["users", "create", *_user("canceller", "cancel my_perl_app", password)],
    ]
    subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(commands),
        env=variables,
        check=True,
        text=True,
        timeout=SECONDS,
        stdout=subprocess.DEVNULL,
    )
    server = Part(
        "api_server",
        [sys.executable, "-m", "airflow", "api-server"],
        variables,
        home.directory / "api_server.log",
        home.directory / "api_server.json",
    )
    server.start()
    try:
        yield Airflow(f"http://127.0.0.1:{port}", password, home)
    finally:
        server.kill()


def _user(name: str, role: str, password: str) -> list[str]:
    values = {"username": name, "role": role, "password": password, "email": f"{name}@example.org"}
    return [*(f"--{key}={value}" for key, value in values.items()), "--firstname=CI", "--lastname=CI"]


def test_the_documented_role_may_deploy_its_app_and_nothing_else(airflow: Airflow) -> None:
    # The client itself waits until the API server answers.
    code, lines = airflow.client("--run-id=ci-1", "--timeout=240", "--cancel")
    assert code == 2
    assert "404" in lines[-1]

    # Long enough for an answer on a busy machine; nobody runs it, so this is how long it takes.
    code, lines = airflow.client("--run-id=ci-1", "--timeout=10")
    assert code == 5, lines
    assert lines[0].startswith("triggered ci-1: ")
    assert "the run is queued" in lines[-1]
    code, lines = airflow.client("--run-id=ci-1", "--timeout=10", "--cancel", user="canceller")
    assert lines[0].startswith("cancelled: "), lines
    airflow.end_runs()
    code, lines = airflow.client("--run-id=ci-1", "--timeout=20")
    assert code == 6, lines
    assert lines[0].startswith("ci-1 exists, following it: ")
    assert "ended (failed) without a report" in lines[-1]

    assert airflow.client(password="wrong") == (
        2,
        ["error: Airflow refuses POST /auth/token: 401 Invalid credentials"],
    )


OWN = "/api/v2/dags/bluegreen_deploy__my_perl_app"
ROLLBACK = "/api/v2/dags/bluegreen_rollback__my_perl_app"
RUN = f"{OWN}/dagRuns/forbidden"
# What somebody who has stolen CI's password would like to do, by what it would be good for.
FORBIDDEN: dict[str, list[tuple[str, str, object]]] = {
    "other DAGs": [
        ("POST", f"{ROLLBACK}/dagRuns", {"logical_date": None}),
        ("GET", ROLLBACK, None),
        ("GET", f"{ROLLBACK}/dagRuns", None),
        ("PATCH", ROLLBACK, {"is_paused": True}),
        (
            "POST",
            "/api/v2/backfills",
            {"dag_id": "bluegreen_dry_run__my_perl_app", "from_date": "2026-01-01"},
        ),
    ],
    "a run that goes another way": [
        ("PATCH", RUN, {"state": "failed"}),
        ("DELETE", RUN, None),
        ("POST", f"{RUN}/clear", {"dry_run": False}),
        ("POST", f"{OWN}/clearTaskInstances", {"dry_run": False, "dag_run_id": "forbidden"}),
        ("PATCH", f"{RUN}/taskInstances/judge", {"new_state": "success"}),
        ("PATCH", f"{RUN}/taskInstances/approval/-1/hitlDetails", {"chosen_options": ["Approve"]}),
        ("POST", f"{RUN}/taskInstances/build/xcomEntries", {"key": "plan", "value": "{}"}),
        ("PATCH", f"{RUN}/taskInstances/build/xcomEntries/plan", {"value": "{}"}),
    ],
    "secrets and settings": [
        ("GET", "/api/v2/connections", None),
        ("POST", "/api/v2/connections", {"connection_id": "bluegreen_ssh", "conn_type": "ssh"}),
        (
            "PATCH",
            "/api/v2/connections/bluegreen_ssh",
            {"connection_id": "bluegreen_ssh", "conn_type": "ssh"},
        ),
        ("POST", "/api/v2/connections/test", {"connection_id": "bluegreen_ssh", "conn_type": "ssh"}),
        ("GET", "/api/v2/variables", None),
        ("POST", "/api/v2/variables", {"key": "a", "value": "b"}),
        ("GET", "/api/v2/config", None),
        ("GET", "/api/v2/pools", None),
        ("PATCH", "/api/v2/pools/default_pool", {"slots": 0}),
    ],
    "users and roles": [
        ("GET", "/auth/fab/v1/users", None),
        ("POST", "/auth/fab/v1/roles", {"name": "all", "actions": []}),
        ("PATCH", "/auth/fab/v1/users/ci", {"roles": [{"name": "Admin"}]}),
    ],
    "what others do": [
        ("GET", f"{RUN}/taskInstances/lock/logs/1", None),
        ("GET", "/api/v2/eventLogs", None),
        ("GET", "/api/v2/dagSources/bluegreen_deploy__my_perl_app", None),
        ("GET", "/api/v2/plugins", None),
        ("GET", "/api/v2/jobs", None),
    ],
}


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def token(airflow: Airflow) -> dict[str, str]:
    port = int(airflow.url.rpartition(":")[2])
    until(lambda: answers(port), "the API server listens", SECONDS)
    answer = requests.post(
        f"{airflow.url}/auth/token", json={"username": "ci", "password": airflow.password}, timeout=SECONDS
    )
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def triggered(airflow: Airflow, run_id: str) -> dict[str, str]:
    """Have a run of CI's own there; return the headers with its token."""
    headers = token(airflow)
    body = {"logical_date": None, "dag_run_id": run_id, "conf": {"ref": "v2"}}
    started = requests.post(f"{airflow.url}{OWN}/dagRuns", json=body, headers=headers, timeout=SECONDS)
    assert started.status_code in (200, 409), started.text
    return headers


@pytest.mark.parametrize("purpose", FORBIDDEN)
def test_a_stolen_password_of_ci_is_no_good_for(airflow: Airflow, purpose: str) -> None:
    headers = triggered(airflow, "forbidden")
    answers = {
        (method, path): requests.request(
            method, f"{airflow.url}{path}", json=body, headers=headers, timeout=SECONDS
        )
        for method, path, body in FORBIDDEN[purpose]
    }
    assert {what: each.status_code for what, each in answers.items()} == dict.fromkeys(answers, 403)


def test_ci_sees_no_other_dag_in_a_list(airflow: Airflow) -> None:
    headers = triggered(airflow, "seen")
    seen = {
        path: {
            each["dag_id"]
            for each in requests.get(f"{airflow.url}/api/v2/{path}", headers=headers, timeout=SECONDS).json()[
                key
            ]
        }
        for path, key in (("dags?limit=100", "dags"), ("dags/~/dagRuns", "dag_runs"))
    }
    assert seen == {path: {"bluegreen_deploy__my_perl_app"} for path in seen}


def test_ci_s_token_is_none_of_a_task(airflow: Airflow) -> None:
    # Tasks get connections with theirs.
    headers = token(airflow)
    for name in ("bluegreen_ssh", "bluegreen_seal"):
        refused = requests.get(
            f"{airflow.url}/execution/connections/{name}", headers=headers, timeout=SECONDS
        )
        assert refused.status_code in (401, 403), refused.text
