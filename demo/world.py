"""Everything that the demo runs, in one directory: sandbox, Airflow, traffic."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from demo import database
from demo.airflow import AirflowStack, stop_recorded
from demo.airflow_settings import ROOT
from demo.environment import DemoEnvironment
from demo.errors import DemoError
from demo.session import Part, kill_recorded
from sandbox import Sandbox, lifecycle
from sandbox.layout import Layout

DIRECTORY = ROOT / "build" / "demo"
KINDS = ("provision", "deploy", "rollback", "dry_run")
# The longest that the traffic judge accepts.
TRAFFIC_SECONDS = 1800


class World:
    """What is up, and how to take it down.

    :param say: prints a line.
    :param directory: where everything is kept.
    """

    def __init__(self, say: Callable[[str], None], directory: Path = DIRECTORY) -> None:
        self.directory = directory
        self._say = say
        self._sandbox = Layout.of(directory / "sandbox", "demo")
        self._airflow = directory / "airflow"
        self._traffic = directory / "traffic.json"
        self.records = directory / "traffic.tsv"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other demos out of the directory: each would take the other's things down.

        :raises DemoError: if one is at work there.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DemoError(
                    f"another demo is at work in {self.directory}; wait for it, or end it with Ctrl-C"
                ) from None
            yield

    def up(self) -> tuple[DemoEnvironment, AirflowStack]:
        """Start sandbox and Airflow afresh.

        :raises DemoError: Airflow does not start.
        :raises SandboxError: the sandbox does not start.
        """
        self.down()
        # Both take long on a machine that has never done it, and only then.
        with ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(database.prepare)
            box = Sandbox.up(self._sandbox.directory, self._sandbox.name, say=self._say)
            prepared.result()
        environment = DemoEnvironment(box, self.directory)
        environment.prepare()
        airflow = AirflowStack(self._airflow, extra=environment.variables())
        airflow.start([environment.dag_id(kind) for kind in KINDS])
        return environment, airflow

    def start_traffic(self, url: str, rate: float) -> None:
        """Let clients ask an address from now on.

        :param rate: requests a second, by all clients.
        """
        self.records.unlink(missing_ok=True)
        options = {
            "--url": url,
            "--rate": rate,
            "--duration": TRAFFIC_SECONDS,
            "--records": self.records,
            "--out": self.directory / "traffic-result.json",
        }
        command = [str(word) for option in options.items() for word in option]
        self._judge = Part(
            "traffic",
            [sys.executable, "-m", "sandbox", "traffic", *command],
            {**os.environ, "PYTHONPATH": str(ROOT)},
            self.directory / "traffic.log",
            self._traffic,
        )
        self._judge.start()

    def check_traffic(self) -> None:
        """Raise if the clients have stopped by themselves.

        :raises DemoError: with their last words.
        """
        self._judge.check()

    def stop_traffic(self) -> None:
        """End the clients; requests in flight are finished."""
        self._judge.stop()

    def down(self) -> bool:
        """Stop everything that is up, also an earlier process's leftovers; return whether anything was.

        :raises DemoError: if something cannot be ended.
        """
        done = [kill_recorded(self._traffic), stop_recorded(self._airflow), lifecycle.down(self._sandbox)]
        return any(done)
