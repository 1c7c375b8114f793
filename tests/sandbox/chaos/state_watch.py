"""What an app with state is held to while something goes wrong: migrations, processes and sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from types import TracebackType

import requests

from sandbox import Machine
from tests.sandbox.chaos.faults_of_state import PROCESSES
from tests.sandbox.chaos.moments import processes_of
from tests.sandbox.stack import Stack
from tests.sandbox.state.services import Services
from tests.waiting import until

# The process is `bin/beat`, which keeps where it is; the migration is `bin/migrate`, which keeps when it was.
SETTINGS = {
    "migrations": {"expand": [["bin/migrate"]], "timeout": 30},
    "processes": {"beat": {"command": ["bin/beat"], "stop_timeout": 10}},
}
TABLES = """
CREATE TABLE migrated (id bigserial PRIMARY KEY, release text NOT NULL,
    began timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz);
CREATE TABLE beats (release text NOT NULL, droplet text NOT NULL, pid int NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
# Each query finds what must not be: two migrations, or processes of two releases, at the same time.
NEVER = {
    "two migrations at once": """
WITH runs AS (SELECT *, tstzrange(began, ended, '[]') AS during FROM migrated WHERE ended IS NOT NULL)
SELECT a.release, a.during FROM runs a JOIN runs b ON a.id < b.id AND a.during && b.during LIMIT 1
""",
    "processes of two releases at once": """
WITH lives AS (
    SELECT release, droplet, pid, tstzrange(min(at), max(at), '[]') AS during FROM beats GROUP BY 1, 2, 3
)
SELECT a.droplet, b.droplet, a.during * b.during FROM lives a JOIN lives b
ON a.release < b.release AND a.during && b.during LIMIT 1
""",
}
CLIENTS, PAUSE = 10, 0.2


class StateWatch:
    """Clients that stay logged in, from ``with`` to its end, and what the app itself has kept.

    :param services: where the app keeps its state.
    """

    def __init__(self, stack: Stack, services: Services) -> None:
        self.stack = stack
        self.services = services
        self.visits = [0] * CLIENTS
        self._lost: list[str] = []
        self._end = Event()
        self._running = ExitStack()

    def __enter__(self) -> StateWatch:
        self.services.query("TRUNCATE migrated, beats")
        with ExitStack() as started:
            pool = started.enter_context(ThreadPoolExecutor(CLIENTS))
            started.callback(self._end.set)
            for number in range(CLIENTS):
                pool.submit(self._stay, number)
            until(lambda: all(self.visits), "everybody is logged in")
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def problems(self) -> list[str]:
        """Return what must never be, and was."""
        found = [f"{what}: {rows}" for what, query in NEVER.items() if (rows := self.services.query(query))]
        return found + self._lost

    def misplaced(self) -> list[str]:
        """Return the droplets that do not run what they should: only live ones have processes."""
        live = self.stack.live()
        return [
            f"{machine.name}: processes: {len(running)} run, {len(enabled)} start with the droplet"
            for color in ("blue", "green")
            for machine in self.stack.machines(color)
            for running, enabled in [(processes_of(machine), _enabled(machine))]
            if (bool(running), bool(enabled)) != (color == live, color == live)
        ]

    def _stay(self, number: int) -> None:
        """Ask for a session again and again, and keep what tells that it is gone."""
        url = self.stack.environment.proxy_url().rstrip("/")
        with requests.Session() as client:
            client.trust_env = False
            client.get(f"{url}/login", timeout=10).raise_for_status()
            while not self._end.wait(PAUSE):
                try:
                    answer = client.get(f"{url}/session", timeout=10)
                    visits = int(answer.json()["visits"]) if answer.ok else 0
                except (requests.RequestException, ValueError, KeyError) as error:
                    self._lost.append(f"client {number} got no answer: {error}")
                    continue
                if visits <= self.visits[number]:
                    self._lost.append(
                        f"client {number} is at visit {visits} after {self.visits[number]}: {answer.text}"
                    )
                self.visits[number] = visits


def _enabled(machine: Machine) -> list[str]:
    """Return the units of the app's processes that start with a droplet."""
    links = ["find", "/etc/systemd/system", "-path", f"*.wants/{PROCESSES}"]
    return machine.run(links).stdout.splitlines()
