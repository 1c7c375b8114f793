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

from tests.compose.conftest import UP_SECONDS, Compose

pytestmark = pytest.mark.timeout(900)

URL = "http://127.0.0.1:8080"
PARSE_SECONDS = 60
SERVICES = {"postgres", "apiserver", "scheduler", "dag-processor"}
# Names of users and files, and a number: no secrets.
PUBLIC = ("ADMIN_USER", "CI_USER", "AIRFLOW_UID", "SSH_KEY_FILE", "KNOWN_HOSTS_FILE")


def ask(path: str, token: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=30) as answer:
        return dict(json.load(answer))


def token_of(stack: Compose, user: str) -> str:
    names = stack.settings
    body = {"username": names[f"{user}_USER"], "password": names[f"{user}_PASSWORD"]}
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
    assert project.run("config", "--quiet").stderr == ""
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


def test_four_containers_run_and_none_as_root(stack: Compose) -> None:
    containers = stack.containers()
    assert set(containers) == SERVICES
    for service, one in containers.items():
        assert one["State"]["Health"]["Status"] == "healthy", service
        assert stack.run("exec", service, "id", "-u").stdout.strip() not in ("", "0"), service
        assert one["HostConfig"]["Memory"] > 0, service
        assert one["HostConfig"]["LogConfig"]["Config"]["max-size"], service


def test_nothing_but_the_user_interface_is_published_and_that_on_loopback_only(stack: Compose) -> None:
    published = {
        (service, port, at["HostIp"])
        for service, one in stack.containers().items()
        for port, places in one["HostConfig"]["PortBindings"].items()
        for at in places
    }
    assert published == {("apiserver", "8080/tcp", "127.0.0.1")}


def test_no_secret_is_in_what_the_engine_shows_or_in_the_image(stack: Compose) -> None:
    history = ["docker", "history", "--no-trunc", "--format", "{{json .}}", "bluegreen-airflow"]
    image = subprocess.run(history, capture_output=True, text=True, check=True).stdout
    shown = json.dumps(stack.containers()) + image
    for name, value in stack.settings.items():
        if name not in PUBLIC:
            assert value not in shown, name
    files = stack.run("exec", "scheduler", "find", "/opt/airflow", "-name", ".env", "-o", "-name", "ssh_key")
    assert files.stdout == ""


def test_ci_s_user_may_trigger_deploys_and_not_read_connections(stack: Compose) -> None:
    token = token_of(stack, "CI")
    wait_for_dag("bluegreen_deploy__my_perl_app", token)
    for path in ("/api/v2/connections", "/api/v2/dags/bluegreen_provision__my_perl_app"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(path, token)
        assert refused.value.code == 403, path
    # What it may is no use to the admin's own things, and the admin may do them.
    assert ask("/api/v2/connections", token_of(stack, "ADMIN"))["total_entries"] == 0


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
    command = [str(stack.directory / "deploy" / "compose" / name), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=UP_SECONDS, check=False)
