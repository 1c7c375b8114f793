"""Airflow's API server with the FAB auth manager, as production has it, and a database that a test fills.

The DAGs of the app ``my_perl_app`` are real ones.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from sqlalchemy import create_engine

from demo import database
from demo.airflow_settings import Home, environment
from demo.session import Part
from tests.unit.airflow_database import Database
from tests.waiting import until

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
SECONDS = 120

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
class Site:
    """An API server that nobody schedules for.

    :param password: of every user.
    """

    url: str
    password: str
    database: Database

    def headers(self, user: str) -> dict[str, str]:
        """Return the headers of a user's requests."""
        login = {"username": user, "password": self.password}
        answer = requests.post(f"{self.url}/auth/token", json=login, timeout=SECONDS)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@contextmanager
def site(directory: Path, users: Mapping[str, str], roles: list[dict[str, str]]) -> Iterator[Site]:
    """Start it.

    :param users: the role of each.
    :param roles: permissions of more roles than Airflow has by itself, as ``airflow roles import`` has them.
    """
    home, password = Home(directory), secrets.token_urlsafe(12)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    extra = {"AIRFLOW__CORE__AUTH_MANAGER": FAB, "BLUEGREEN_APPS_DIR": os.environ["BLUEGREEN_APPS_DIR"]}
    variables = environment(home, port, extra=extra)
    database.copy(database.prepare(), home.database)
    rows = Database(create_engine(f"sqlite:///{home.database}"))
    (directory / "roles.json").write_text(json.dumps(roles))
    commands = [["fab-db", "migrate"], ["dags", "reserialize"]]
    commands.append(["roles", "import", str(directory / "roles.json")])
    for name, role in users.items():
        about = {"username": name, "role": role, "password": password, "email": f"{name}@example.org"}
        about |= {"firstname": name, "lastname": name}
        commands.append(["users", "create", *(f"--{key}={value}" for key, value in about.items())])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(commands),
        env=variables,
        check=False,
        text=True,
        timeout=SECONDS,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    log, record = directory / "api_server.log", directory / "api_server.json"
    server = Part("api_server", [sys.executable, "-m", "airflow", "api-server"], variables, log, record)
    server.start()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/api/v2/version", timeout=5).ok
        except requests.RequestException:
            return False

    try:
        until(answers, "the API server answers", SECONDS)
        yield Site(url, password, rows)
    finally:
        server.kill()
        rows.engine.dispose()
