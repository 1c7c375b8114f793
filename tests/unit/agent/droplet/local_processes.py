"""A droplet of the test's with processes and timers: what its systemd does with their units."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.call import Call
from agent.droplet.process_states import ProcessStates
from agent.droplet.process_units import UnitFiles
from agent.droplet.processes import processes
from agent.processes import ProcessRecord
from agent.protocol import AgentError, Verb
from tests.unit.agent.droplet.local_droplet import LocalDroplet, about

APP = "app-shop"


def process_text(release: str, name: str = "worker", count: int = 1, droplets: str = "all") -> str:
    """Return the unit of a process, as far as the agent reads it."""
    return (
        f"[Unit]\n{_described('Process', name)}"
        f"[Service]\nWorkingDirectory=/opt/{APP}/releases/{release}\nExecStart=/usr/bin/env bin/{name}\n"
        f"[X-Bluegreen]\nCount={count}\nDroplets={droplets}\nOverlap=no\n"
    )


def timer_texts(release: str, name: str = "cleanup", calendar: str = "03:00") -> dict[str, str]:
    """Return the units of a timer by file name."""
    return {
        f"{APP}-{name}.service": f"[Unit]\n{_described('Timer', name)}"
        f"[Service]\nWorkingDirectory=/opt/{APP}/releases/{release}\n",
        f"{APP}-{name}.timer": f"[Unit]\n{_described('Timer', name)}"
        f"[Timer]\nOnCalendar={calendar}\n[X-Bluegreen]\nDroplets=one\n",
    }


def _described(kind: str, name: str) -> str:
    return f"Description={kind} {name} of the Perl application {APP}, release x\n"


def units_of(release: str, count: int = 2) -> dict[str, str]:
    """Return the units of a worker and a timer by file name."""
    return {f"{APP}-worker@.service": process_text(release, count=count), **timer_texts(release)}


class ProcessDroplet(LocalDroplet):
    """A droplet on which a release with two workers and a timer is activated; none of them runs."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, monkeypatch)
        for name in ("units", "slow", "stuck", "crashing"):
            (self.path / name).mkdir(exist_ok=True)
        self.active = self.put("b" * 40)
        self.unit.write_text(f"WorkingDirectory=/opt/{APP}/releases/{self.active}\n")
        self.files = UnitFiles(self.app)
        self.states = ProcessStates(self.app, Call.of(Verb.FACTS).deadline)
        self.files.replace(units_of(self.active))

    def processes(self, *run: str) -> list[ProcessRecord]:
        """Let the droplet run some, and return its answer."""
        found: list[ProcessRecord] = processes(Call.of(Verb.PROCESSES), about(run=list(run)))["processes"]
        return found

    def refusal(self, *run: str) -> str:
        """Let the droplet run some, which it has to refuse."""
        with pytest.raises(AgentError) as raised:
            self.processes(*run)
        return str(raised.value)

    def put_unit(self, name: str, state: str = "active running") -> None:
        """Let systemd have a unit in memory."""
        (self.path / "units" / name).write_text(f"{state}\n")

    @property
    def up(self) -> set[str]:
        """The units that systemd has in memory."""
        return {path.name for path in (self.path / "units").iterdir()}

    @property
    def enabled(self) -> set[str]:
        """The units that would start with the droplet."""
        return {path.name for path in self.app.paths.units.glob("*.wants/*")}

    def populate(self, cgroup: str) -> None:
        """Let the kernel know a process of a unit."""
        directory = self.path / "proc/4242"
        directory.mkdir(parents=True)
        (directory / "cgroup").write_text(f"{cgroup}\n")

    def restart(self) -> None:
        """Let the droplet lose power and come back: what is enabled is up, and nothing else."""
        shutil.rmtree(self.path / "units")
        (self.path / "units").mkdir()
        for link in self.app.paths.units.glob("*.wants/*"):
            if link.exists():
                self.put_unit(link.name)
