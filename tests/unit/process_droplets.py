"""Droplets that run an app's processes and timers, as the task sees them that moves these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from agent.processes import ProcessState
from agent.protocol import Code, Verb
from bluegreen.color import Color
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.operators import move_processes
from bluegreen.operators.move_processes import MoveProcessesOperator
from bluegreen.operators.support.this_run import PROCESSES_KEY, ThisRun
from bluegreen.run.plan import HeldLock
from bluegreen.run.processes import ProcessesMove, ProcessFact
from tests.unit.app_with_processes import PROCESSES, app_with_processes, process
from tests.unit.droplet_agents import ended
from tests.unit.fleets import droplet
from tests.unit.runs import context
from tests.unit.statuses import status

TWO_EACH = Fleet(
    proxies=(droplet(1, "lb-1"),),
    blue=(droplet(3, "blue-1"), droplet(4, "blue-2")),
    green=(droplet(5, "green-1"), droplet(6, "green-2")),
)


# The example's file takes a fifth of a second to parse, and some tests move processes hundreds of times.
APP = cache(app_with_processes)

FALLS = {"state": ProcessState.RESTARTING, "result": "exit-code", "exit_status": 2}


class KilledError(Exception):
    """Airflow's end, at some call."""


class ProcessDroplets:
    """The droplets of both colors, and the proxies before them.

    :ivar running: by droplet, the names that run there; a dead Airflow leaves them as they are.
    :ivar names: those of each release, but for the droplets in ``releases``.
    :ivar strays: droplets without a role, or with several, and what is wrong with them.
    :ivar gone: droplets that cannot be reached; ``stubborn`` ones do not stop what they run.
    :ivar dying: names that do not stay up.
    :ivar fallen: what differs of names on a droplet, although they are to run there, until they are started.
    :ivar kill_at: which call, or which answer, Airflow does not survive.
    :ivar asked: what droplets were asked to run, in this order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.fleet = TWO_EACH
        self.strays: dict[Droplet, str] = {}
        self.names: tuple[str, ...] = ("worker", "cleanup")
        self.releases: dict[str, tuple[str, ...]] = {}
        self.running: dict[str, set[str]] = {one.name: set() for one in self.all}
        self.statuses: dict[str, Any] = {"lb-1": status(Color.BLUE)}
        self.gone: set[str] = set()
        self.stubborn: set[str] = set()
        self.dying: set[str] = set()
        self.fallen: dict[tuple[str, str], dict[str, Any]] = {}
        self.tokens: dict[str, int] = {}
        # The run of a job that was not ended, by droplet.
        self.left: dict[str, int] = {}
        # What happens just before a droplet takes its next job.
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.kill_at = 0
        self.calls = 0
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.both: set[str] = set()
        monkeypatch.setattr(DropletAgentHook, "of", lambda one, _app: self._hook(one))
        monkeypatch.setattr(move_processes, "ask_processes", lambda _app, one: self._facts(one))

    @property
    def all(self) -> tuple[Droplet, ...]:
        """Every application droplet."""
        return self.fleet.blue + self.fleet.green

    def stray(self, name: str, problem: str) -> None:
        """Let a droplet lose its role, or have several."""
        self.strays |= {one: f"{name} {problem}" for one in self.all if one.name == name}
        self.fleet = self.fleet.without(self.strays)

    def live(self, color: Color, **changes: Any) -> None:
        """Let traffic go to a color, confirmed unless a change says something else."""
        self.statuses = {"lb-1": status(color, **changes)}

    def put(self, color: Color, *names: str) -> None:
        """Let a color run these, as a move to it has left them."""
        for position, one in enumerate(self.fleet.color(color)):
            on_one = {name for name in names if name not in PROCESSES}
            self.running[one.name] = set(names) - (on_one if position else set())

    def on(self, color: Color) -> list[set[str]]:
        """What the droplets of a color run."""
        return [self.running[one.name] for one in self.fleet.color(color)]

    def move(self, token: int = 7, **settings: Any) -> tuple[ProcessesMove, str | None]:
        """Run the task; return what it has left, and its error."""
        lock = HeldLock(proxies=self.fleet.proxies, tokens={"lb-1": token}).model_dump(mode="json")
        task = MoveProcessesOperator(task_id="move_processes", app_id="my_perl_app", lock=lock, **settings)
        task.__dict__["app"] = APP()
        task.__dict__["sort_droplets"] = lambda: (self.fleet, self.strays)
        task.__dict__["_status"] = lambda one: self.statuses[one.name]
        task.__dict__["proxies"] = MagicMock
        run = context()
        try:
            task.act(ThisRun(run))
        except BlueGreenError as error:
            return ProcessesMove.model_validate(run["ti"].said[PROCESSES_KEY]), str(error)
        return ProcessesMove.model_validate(run["ti"].said[PROCESSES_KEY]), None

    def _facts(self, one: Droplet) -> tuple[ProcessFact, ...] | BlueGreenError:
        if one.name in self.gone:
            return DropletUnreachableError(f"{one.label} cannot be reached")
        release = self.releases.get(one.name, self.names)
        known = [
            process(name, runs=name in self.running[one.name], **self.fallen.get((one.name, name), {}))
            for name in release
        ]
        left = self.running[one.name] - set(release)
        return (*known, *(process(name, runs=True, droplets=None) for name in sorted(left)))

    def _count(self) -> None:
        self.calls += 1
        if 0 < self.kill_at <= self.calls:
            raise KilledError

    def _hook(self, one: Droplet) -> Any:
        jobs: dict[str, Any] = {}

        def call(verb: Verb, **request: Any) -> dict[str, Any]:
            self._count()
            if one.name in self.gone:
                raise DropletUnreachableError(f"{one.label} cannot be reached")
            if verb is Verb.START_JOB and one.name in self.meanwhile:
                self.meanwhile.pop(one.name)()
            if request["token"] < self.tokens.get(one.name, 0):
                raise AgentRefusedError(f"{one.name}: another run has claimed this droplet", Code.CLAIMED)
            attached = verb is Verb.START_JOB and self.left.get(one.name) == request["token"]
            if verb is Verb.END_JOB:
                self.left.pop(one.name, None)
            elif not attached:
                self.tokens[one.name] = self.left[one.name] = request["token"]
                [step] = request["program"]["steps"]
                jobs["error"] = self._apply(one, set(step["request"]["run"]))
            self._count()
            return {"attached": attached}

        def follow(verb: Verb, **request: Any) -> Iterator[dict[str, Any]]:
            self._count()
            if error := jobs["error"]:
                yield {"lines": [f"bluegreen: {error}"], "cursor": 0}
                yield from ended("failed", "exit-code", 1)
            else:
                yield from ended("success")

        return SimpleNamespace(call=call, follow=follow, close=lambda: None)

    def _apply(self, one: Droplet, names: set[str]) -> str:
        self.asked.append((one.name, tuple(sorted(names))))
        if unknown := names - set(self.releases.get(one.name, self.names)):
            return f"{sorted(unknown)[0]} is no process or timer of the release that is activated here"
        if one.name in self.stubborn and self.running[one.name] - names:
            return "worker@1 did not end"
        self.running[one.name] = names
        self.fallen = {key: how for key, how in self.fallen.items() if key[0] != one.name}
        self.fallen |= {(one.name, name): FALLS for name in names & self.dying}
        self.both |= set().union(*self.on(Color.BLUE)) & set().union(*self.on(Color.GREEN))
        if bad := names & self.dying:
            return f"{sorted(bad)[0]}@1 does not stay up: no such table"
        return ""
