"""The default stack: it comes up, lets CI in, and tells nobody its secrets."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import BUILD_SECONDS, UP_SECONDS, Compose, memory

pytestmark = pytest.mark.timeout(900)

URL = "http://127.0.0.1:8080"
PARSE_SECONDS = 60
SERVICES = {"postgres", "apiserver", "scheduler", "dag-processor"}
# What a small server has left for it.
IDLE_MEBIBYTES = 1536


def ask(path: str, token: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=30) as answer:
        return dict(json.load(answer))


def token_of(stack: Compose, user: str) -> str:
    body = {
        "username": stack.settings[f"{user}_USER"],
        "password": stack.secret(f"{user.lower()}_password"),
    }
    return str(ask("/auth/token", body=body)["access_token"])


def wait_for_dag(dag_id: str, token: str) -> None:
    """The DAG processor reads the files when the rest is up already."""
    deadline = time.monotonic() + PARSE_SECONDS
    while True:
        try:
            ask(f"/api/v2/dags/{dag_id}", token)
            return
        except urllib.error.HTTPError as error:
            if error.code != 404 or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def test_the_file_is_clean_and_every_missing_value_stops_the_stack_by_name(project: Compose) -> None:
    assert project.run("--profile", "*", "config", "--quiet").stderr == ""
    env = project.directory / ".env"
    text = env.read_text()
    try:
        for name in project.settings:
            kept = [line for line in text.splitlines() if not line.startswith(f"{name}=")]
            env.write_text("\n".join(kept))
            done = project.run("config", "--quiet", check=False)
            assert done.returncode != 0, name
            assert name in done.stderr
    finally:
        env.write_text(text)


def test_a_missing_secret_stops_the_stack_by_name_and_what_runs_stays(stack: Compose) -> None:
    before = stack.containers()["apiserver"]["Id"]
    file = stack.directory / "secrets" / "jwt_secret"
    moved = file.rename(file.with_name("elsewhere"))
    try:
        done = stack.run("up", "--detach", "--no-deps", "--force-recreate", "apiserver", check=False)
    finally:
        moved.rename(file)
    assert done.returncode != 0
    assert str(file) in done.stderr.splitlines()[-1]
    assert stack.containers()["apiserver"]["Id"] == before


def test_four_containers_run_in_little_memory(stack: Compose, figures: dict[str, Any]) -> None:
    containers = stack.containers()
    assert set(containers) == SERVICES
    assert {one["State"]["Health"]["Status"] for one in containers.values()} == {"healthy"}
    wait_for_dag("bluegreen_deploy__my_perl_app", token_of(stack, "ADMIN"))
    figures["idle memory"] = taken = memory()
    assert taken["all"] < IDLE_MEBIBYTES


def test_each_container_has_the_secrets_that_it_needs_and_no_other(stack: Compose) -> None:
    stored, signed = {"fernet_key", "database_url"}, {"jwt_secret", "api_secret_key"}
    for service, expected in (
        ("postgres", {"postgres_password"}),
        ("dag-processor", stored),
        ("apiserver", stored | signed),
        ("scheduler", stored | signed | {"broker_url", "ssh_key"}),
    ):
        secrets = set(stack.run("exec", "-T", service, "ls", "/run/secrets").stdout.split())
        assert secrets == expected, service
        known = stack.run("exec", "-T", service, "ls", "/home/airflow/.ssh/known_hosts", check=False)
        assert (known.returncode == 0) is (service == "scheduler"), service


def test_no_container_can_change_its_own_programs(stack: Compose) -> None:
    for service in SERVICES:
        for place in ("/usr/local/bin", "/etc", "/opt"):
            done = stack.run("exec", "-T", "--user", "0", service, "touch", f"{place}/new", check=False)
            assert "Read-only file system" in done.stderr, (service, place)


def test_airflow_s_role_owns_its_database_and_nothing_else_of_postgresql(stack: Compose) -> None:
    def psql(role: str, query: str) -> str:
        command = ["psql", f"--username={role}", "--no-align", "--tuples-only", "--command", query]
        return stack.run("exec", "-T", "postgres", *command, "airflow").stdout.strip()

    asked = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
    assert psql("airflow", f"{asked} WHERE rolname = 'airflow'") == "f"
    assert (
        psql("airflow", "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'airflow'")
        == "airflow"
    )
    memberships = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
    assert psql("airflow", f"{memberships} WHERE r.rolname = 'airflow'") == "0"
    # The superuser cannot log in by the network.
    assert psql("postgres", "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'") == "t"
    rules = psql("postgres", "SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE address = 'all'")
    assert rules == "scram-sha-256"


def test_what_does_not_fit_together_is_refused_by_init(stack: Compose) -> None:
    stack.set(EXECUTOR="CeleryExecutor")
    try:
        done = stack.run("run", "--rm", "-T", "--no-deps", "init", check=False)
    finally:
        stack.set(EXECUTOR=None)
    assert done.returncode != 0
    assert "set COMPOSE_PROFILES=celery and EXECUTOR=CeleryExecutor in .env, both or neither" in (
        done.stdout + done.stderr
    )


def test_a_worker_that_would_get_no_task_says_so_and_ends(stack: Compose) -> None:
    try:
        started = stack.run(
            "--profile", "celery", "up", "--detach", "--wait", "--no-deps", "worker", seconds=60, check=False
        )
        said = stack.run("logs", "--no-log-prefix", "worker").stdout
    finally:
        stack.run("--profile", "celery", "rm", "--stop", "--force", "worker")
    assert started.returncode != 0
    # Once: it is not started again and again.
    assert said.count("\n") == 1
    assert said.endswith(
        "worker: Airflow runs with the LocalExecutor and gives no task to workers; set"
        " EXECUTOR=CeleryExecutor and COMPOSE_PROFILES=celery in .env, both\n"
    )


def test_ci_s_user_may_trigger_deploys_and_not_read_connections(stack: Compose) -> None:
    token = token_of(stack, "CI")
    wait_for_dag("bluegreen_deploy__my_perl_app", token)
    for path in ("/api/v2/connections", "/api/v2/dags/bluegreen_provision__my_perl_app"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(path, token)
        assert refused.value.code == 403, path
    for dag in ("provision", "rollback"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"/api/v2/dags/bluegreen_{dag}__my_perl_app/dagRuns", token, {"logical_date": None})
        assert refused.value.code == 403, dag
    # The admin may, and finds what `init` has made.
    found = ask("/api/v2/connections", token_of(stack, "ADMIN"))["connections"]
    assert [one["connection_id"] for one in found] == ["bluegreen_seal"]


def test_a_new_password_arrives_with_new_containers(stack: Compose) -> None:
    file = stack.directory / "secrets" / "ci_password"
    old = file.read_text()
    file.write_text("another one")
    stack.run("up", "--detach", "--wait", "--force-recreate", seconds=UP_SECONDS)
    assert token_of(stack, "CI")
    file.write_text(old)
    with pytest.raises(urllib.error.HTTPError) as refused:
        token_of(stack, "CI")
    assert refused.value.code == 401


def test_a_backup_makes_the_stack_anew_where_nothing_is(stack: Compose, tmp_path: Path) -> None:
    token = token_of(stack, "ADMIN")
    secret = {"connection_id": "kept", "conn_type": "http", "password": "only the Fernet key opens this"}
    ask("/api/v2/connections", token, secret)
    wait_for_dag("bluegreen_status__my_perl_app", token)
    started = ask("/api/v2/dags/bluegreen_status__my_perl_app/dagRuns", token, {"logical_date": None})
    file = tmp_path / "backup.tar"
    assert script(stack, "backup", file).returncode == 0
    assert file.stat().st_mode & 0o077 == 0
    refused = script(stack, "restore", file)
    assert (refused.returncode, ".env exists and stays as it is" in refused.stderr) == (1, True)

    stack.run("down", "--volumes")
    (stack.directory / ".env").unlink()
    shutil.rmtree(stack.directory / "secrets")
    done = script(stack, "restore", file)
    assert done.returncode == 0, done.stderr
    token = token_of(stack, "ADMIN")
    runs = ask("/api/v2/dags/~/dagRuns", token)["dag_runs"]
    assert started["dag_run_id"] in {run["dag_run_id"] for run in runs}
    shown = stack.run("exec", "scheduler", "airflow", "connections", "get", "kept", "--output", "json").stdout
    assert secret["password"] in shown


def script(stack: Compose, name: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(stack.directory / "hosting" / "compose" / name), str(file)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS + UP_SECONDS, check=False
    )
