"""How Airflow is set up here: every setting that differs from its default, and why."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USER = "admin"
# A switch that somebody has to approve is approved by another one than who triggered it.
APPROVER = "approver"

# Tasks are forked from the scheduler: what its plugins have imported when it starts, tasks need not import.
SCHEDULER_ONLY = {"AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False"}


@dataclass(frozen=True)
class Home:
    """The files of one Airflow.

    :param directory: absolute; all of them are in it.
    """

    directory: Path

    @property
    def database(self) -> Path:
        """The metadata database."""
        return self.directory / "airflow.db"

    @property
    def passwords(self) -> Path:
        """User names and their passwords, as Airflow's SimpleAuthManager reads them; mode 0600."""
        return self.directory / "passwords.json"

    @property
    def records(self) -> Path:
        """Which processes run."""
        return self.directory / "run"

    @property
    def logs(self) -> Path:
        """The logs of the parts; task logs are in ``logs``."""
        return self.directory / "parts"

    def write_passwords(self) -> dict[str, str]:
        """Make up the users' passwords, once; return them by the users' names."""
        if not self.passwords.exists():
            self.passwords.touch(mode=0o600)
            made = {user: secrets.token_urlsafe(16) for user in (USER, APPROVER)}
            self.passwords.write_text(json.dumps(made))
        found: dict[str, str] = json.loads(self.passwords.read_text())
        return found


def environment(home: Home, port: int, *, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of all parts; the scheduler's has :data:`SCHEDULER_ONLY` too.

    :param port: of the API server, on 127.0.0.1.
    :param extra: more variables: connections, ``BLUEGREEN_APPS_DIR``, settings that a test needs.
    """
    settings = {
        # One machine, two users, no examples.
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{APPROVER}:user",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.passwords),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.database}",
        # Every part listens on this machine only; the tasks report to the same server.
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__WORKERS": "1",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # All parts must know the same secrets, and nobody else.
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "API__SECRET_KEY": secrets.token_urlsafe(32),
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        # The default, 1 s, is what a chain of short tasks mostly waits for; 0.1 costs 14 % of a processor.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A task's supervisor may outlive it by the heartbeat interval, so there must be slots to spare.
        "CORE__PARALLELISM": "16",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # A task outlives a restart of the API server: a minute of attempts, instead of five in 5 to 15 s.
        "WORKERS__EXECUTION_API_RETRIES": "30",
        "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "3",
        # A changed DAG file or app file counts within seconds (default: 30 s, and 300 s for a new file).
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
        "DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
    }
    return {
        **_inherited(),
        "AIRFLOW_HOME": str(home.directory),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        **(extra or {}),
    }


def _inherited() -> dict[str, str]:
    """This process's environment without what would change Airflow, or lead its requests astray.

    A proxy cannot reach the sandbox's network, and nothing else is asked.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "BLUEGREEN_"))
        and name.lower() not in ("http_proxy", "https_proxy", "all_proxy", "pythondontwritebytecode")
    }
