"""Who is measured: this project, the tutorial's scripts, and an Ansible playbook, on the same machines."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from demo.airflow import AirflowStack
from demo.airflow_settings import ROOT
from demo.session import Part
from sandbox import Machine
from tests.sandbox.examples.example_fleets import ExampleFleet

HERE = Path(__file__).parent
# `make benchmark` makes it, from requirements-benchmark.txt.
ANSIBLE = ROOT / "build" / "benchmark-tools"
TICKS = os.sysconf("SC_CLK_TCK")
# Where scripts and playbook find the repository: a droplet's own disk, since no droplet reaches the forge.
REPOSITORY = "/srv/app.git"
LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Attempt:
    """One deploy.

    :param began: when it was asked for, in seconds since the epoch.
    :param ended: when it said that it had ended.
    :param good: whether it said so of itself.
    :param processor: seconds of CPU on the controlling side.
    :param words: its last line.
    """

    began: float
    ended: float
    good: bool
    processor: float
    words: str


class Contender(Protocol):
    """A way to bring a release to the green droplets, and the traffic with it."""

    name: str

    def deploy(self, ref: str) -> Attempt:
        """Deploy, and wait for its end."""

    def begin(self, ref: str) -> None:
        """Begin a deploy and do not wait."""

    def end(self) -> Attempt:
        """Wait for the end of what was begun."""

    def kill(self) -> None:
        """Kill what deploys, without a chance to clean up."""


@dataclass(frozen=True)
class Green:
    """What scripts and playbook are told about a fleet.

    :param key: the private key that opens all machines.
    :param revisions: of the repository's tags.
    """

    proxy: Machine
    blue: Sequence[Machine]
    green: Sequence[Machine]
    key: Path
    revisions: Mapping[str, str]

    def publish(self, ref: str) -> None:
        """Make a release the head of the branch that scripts and playbook fetch."""
        for machine in self.green:
            machine.run(["git", "-C", REPOSITORY, "update-ref", "refs/heads/main", self.revisions[ref]])


class Program:
    """A deploy that is a program of its own.

    :param name: in tables.
    :param fleet: where it deploys.
    """

    def __init__(self, name: str, fleet: Green, directory: Path) -> None:
        self.name = name
        self.fleet = fleet
        self.directory = directory
        self._began = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """Return its environment, besides this process's."""
        return {}

    def deploy(self, ref: str) -> Attempt:
        """Deploy, and wait for its end."""
        self.begin(ref)
        return self.end()

    def begin(self, ref: str) -> None:
        """Begin a deploy and do not wait."""
        self.fleet.publish(ref)
        self._began = time.time()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.variables()},
                start_new_session=True,
            )

    def end(self) -> Attempt:
        """Wait for the end of what was begun."""
        assert self._process
        before = os.times()
        try:
            status = self._process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        ended, after = time.time(), os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return Attempt(self._began, ended, status == 0, used, lines[-1] if lines else "")

    def kill(self) -> None:
        """Kill what deploys, without a chance to clean up."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.name.replace(' ', '_')}.log"


class Scripts(Program):
    """The tutorial's scripts."""

    def command(self) -> list[str]:
        """Return the script."""
        return [str(HERE / "tutorial_deploy.sh"), "deploy"]

    def variables(self) -> dict[str, str]:
        """Return what the script reads instead of asking ``doctl``."""
        return {
            "PROXY": self.fleet.proxy.address,
            "BLUE": " ".join(machine.address for machine in self.fleet.blue),
            "GREEN": " ".join(machine.address for machine in self.fleet.green),
            "KEY": str(self.fleet.key),
            "REPOSITORY": REPOSITORY,
            # The repository has its distributions with it.
            "MIRROR": "file:///opt/your_perl_app/vendor/cache",
        }

    def give_back(self) -> None:
        """Send the traffic to blue, as the tutorial's rollback.sh does."""
        command = [self.command()[0], "rollback"]
        subprocess.run(command, env={**os.environ, **self.variables()}, check=True, capture_output=True)


class Playbook(Program):
    """The playbook.

    :param mitogen: whether Ansible uses mitogen.
    """

    def __init__(self, name: str, fleet: Green, directory: Path, *, mitogen: bool) -> None:
        super().__init__(name, fleet, directory)
        self._mitogen = mitogen
        hosts = {"proxy": [fleet.proxy], "blue": fleet.blue, "green": fleet.green}
        lines = [
            line
            for group, machines in hosts.items()
            for line in (f"[{group}]", *(machine.address for machine in machines))
        ]
        (directory / "inventory").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        """Return Ansible's command."""
        return [
            str(ANSIBLE / "bin" / "ansible-playbook"),
            *("--inventory", str(self.directory / "inventory")),
            *("--user", "root", "--private-key", str(self.fleet.key)),
            *("--extra-vars", f"repository={REPOSITORY} color=green"),
            str(HERE / "ansible" / "deploy.yml"),
        ]

    def variables(self) -> dict[str, str]:
        """Return where Ansible finds its settings, and mitogen."""
        own = {"ANSIBLE_CONFIG": str(HERE / "ansible" / "ansible.cfg"), "ANSIBLE_HOME": str(self.directory)}
        if self._mitogen:
            [plugins] = ANSIBLE.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy")
            own |= {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}
        return own


class ThisProject:
    """A deploy through Airflow."""

    name = "this project"

    def __init__(self, fleet: ExampleFleet, airflow: AirflowStack) -> None:
        self._fleet = fleet
        self._airflow = airflow
        self._client = airflow.client()
        self._began, self._used = 0.0, 0.0

    def deploy(self, ref: str) -> Attempt:
        """Deploy, and wait for its end."""
        self.begin(ref)
        return self.end()

    def begin(self, ref: str) -> None:
        """Begin a deploy and do not wait."""
        self._used, self._began = self._processor(), time.time()
        self._run = self._client.trigger(f"bluegreen_deploy__{self._fleet.name}", {"ref": ref})

    def end(self) -> Attempt:
        """Wait for the end of what was begun."""
        state = self._client.wait(self._run, LONGEST_SECONDS)
        ended = time.time()
        message = str(self._client.xcom(self._run, "report", "report")["message"])
        return Attempt(self._began, ended, state == "success", self._processor() - self._used, message)

    def kill(self) -> None:
        """Kill all of Airflow."""
        for part in self._parts():
            part.kill()

    def revive(self) -> None:
        """Start Airflow again, and wait until it has ended what it was killed in."""
        for part in self._parts():
            part.start()
        self._airflow.wait_healthy()
        self._client.wait(self._run, LONGEST_SECONDS)

    def _parts(self) -> list[Part]:
        return [self._airflow.scheduler, self._airflow.dag_processor, self._airflow.api_server]

    def _processor(self) -> float:
        """Seconds of CPU of Airflow's processes, and of those that they have reaped."""
        return sum(processor_seconds(member.pid) for part in self._parts() for member in part.members())


def processor_seconds(pid: int) -> float:
    """Return the seconds of CPU of a process and of its children that have ended (proc(5), ``stat``)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS
