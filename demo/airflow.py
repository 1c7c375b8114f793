"""A real Airflow on this machine: scheduler, DAG processor and API server, each in its own process."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from demo import database
from demo.airflow_settings import ROOT, SCHEDULER_ONLY, USER, Home, environment
from demo.client import AirflowClient
from demo.errors import ApiUnreachableError, DemoError
from demo.session import Part, kill_recorded

DEFAULT_DIRECTORY = ROOT / "build" / "demo" / "airflow"
START_SECONDS = 120
POLL_SECONDS = 0.1

# Parts by the name under which Airflow reports their health.
COMMANDS = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag_processor": ("dag-processor",),
    "api_server": ("api-server",),
}


class AirflowStack:
    """Airflow with its database and logs in one directory.

    :param directory: AIRFLOW_HOME; :meth:`start` empties it.
    :param extra: more environment variables for all parts: connections, ``BLUEGREEN_APPS_DIR``, settings.
    """

    def __init__(
        self, directory: Path = DEFAULT_DIRECTORY, *, extra: Mapping[str, str] | None = None
    ) -> None:
        self.home = Home(directory.resolve())
        self._extra = dict(extra or {})
        self._parts: dict[str, Part] = {}
        self.url = ""
        self.user = USER
        self.passwords: dict[str, str] = {}

    @property
    def scheduler(self) -> Part:
        """The scheduler, with the tasks that it runs."""
        return self._parts["scheduler"]

    @property
    def dag_processor(self) -> Part:
        """What reads the DAG files."""
        return self._parts["dag_processor"]

    @property
    def api_server(self) -> Part:
        """What answers the UI, the REST API and the tasks."""
        return self._parts["api_server"]

    @property
    def password(self) -> str:
        """The password of :attr:`user`; empty before the start."""
        return self.passwords.get(self.user, "")

    def client(self, user: str = USER) -> AirflowClient:
        """Return a client for a user."""
        return AirflowClient(self.url, user, self.passwords[user])

    def start(self, expected_dags: Collection[str] = (), seconds: float = START_SECONDS) -> None:
        """Start every part with an empty database, and wait until all are healthy.

        :param expected_dags: ids of DAGs to wait for too.
        :param seconds: how long to wait.
        :raises DemoError: a part ended or is not healthy in time, or a DAG file cannot be imported.
        """
        deadline = time.monotonic() + seconds
        stop_recorded(self.home.directory)
        shutil.rmtree(self.home.directory, ignore_errors=True)
        for directory in (self.home.logs, self.home.records):
            directory.mkdir(parents=True)
        # Secrets and rendered fields stand in the database and the logs.
        self.home.directory.chmod(0o700)
        database.copy(database.prepare(), self.home.database)
        self.passwords = self.home.write_passwords()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        variables = environment(self.home, port, extra=self._extra)
        for name, command in COMMANDS.items():
            self._parts[name] = Part(
                name,
                [sys.executable, "-m", "airflow", *command],
                {**variables, **(SCHEDULER_ONLY if name == "scheduler" else {})},
                self.home.logs / f"{name}.log",
                self.home.records / f"{name}.json",
            )
        try:
            for part in self._parts.values():
                part.start()
            self._warm_up(deadline)
            self.wait_healthy(deadline - time.monotonic())
            self._wait_for_dags(frozenset(expected_dags), deadline)
        except BaseException:
            self.stop()
            raise

    def wait_healthy(self, seconds: float = START_SECONDS) -> None:
        """Wait until every part reports that it is healthy.

        :raises DemoError: a part has ended, or does not become healthy in time.
        """
        deadline = time.monotonic() + seconds
        client = self.client()
        while unhealthy := self._unhealthy(client):
            self._check_parts()
            if time.monotonic() > deadline:
                raise DemoError(f"Airflow is not healthy: {', '.join(unhealthy)}; its logs: {self.home.logs}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop every part and every process that it has started.

        :raises DemoError: if a process cannot be stopped; the others have been.
        """
        # The scheduler first, while its tasks can still report their ends.
        for part in self._parts.values():
            part.terminate()
        problems = []
        for part in self._parts.values():
            try:
                part.stop()
            except DemoError as error:
                problems.append(str(error))
        if problems:
            raise DemoError("; ".join(problems))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _warm_up(self, deadline: float) -> None:
        """Make the API server load now what it would load at the first task's request, which takes 4 s."""
        while True:
            self._check_parts()
            try:
                return self.client().warm_up()
            except ApiUnreachableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _unhealthy(self, client: AirflowClient) -> list[str]:
        try:
            health = client.health()
        except ApiUnreachableError:
            return ["api_server does not answer"]
        return [
            f"{name} is {health.get(name, 'unknown')}"
            for name in COMMANDS
            if name != "api_server" and health.get(name) != "healthy"
        ]

    def _wait_for_dags(self, expected: frozenset[str], deadline: float) -> None:
        client = self.client()
        while missing := expected - client.dag_ids():
            self._check_parts()
            if errors := client.import_errors():
                raise DemoError(f"DAG files cannot be imported: {'; '.join(errors)}")
            if time.monotonic() > deadline:
                raise DemoError(
                    f"Airflow does not know {', '.join(sorted(missing))}; see {self.dag_processor.log}"
                )
            time.sleep(POLL_SECONDS)
        if errors := client.import_errors():
            raise DemoError(f"DAG files cannot be imported: {'; '.join(errors)}")

    def _check_parts(self) -> None:
        for part in self._parts.values():
            part.check()


def stop_recorded(directory: Path) -> bool:
    """End the Airflow that another process has left running in a directory.

    :param directory: its AIRFLOW_HOME.
    :return: whether anything ran.
    """
    killed = [kill_recorded(record) for record in sorted(Home(directory).records.glob("*.json"))]
    return any(killed)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
