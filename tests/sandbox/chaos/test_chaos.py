"""Faults at every moment of a deploy, under load: no request fails, and a plain re-run needs no human.

``make chaos`` runs the whole table; a part of it is in every test run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.client import Run
from demo.environment import APP, DemoEnvironment
from demo.errors import ApiError
from sandbox import Sandbox
from sandbox.traffic_records import Summary, read, summarize
from tests.sandbox.chaos.cells import CELLS, Cell
from tests.sandbox.chaos.faults import FAULTS, Scene
from tests.sandbox.chaos.leftovers import files, leftovers, state_left
from tests.sandbox.chaos.matrix import Result, append, load, render
from tests.sandbox.stack import Stack, running, start_judge, stop_judge

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

WHOLE = os.environ.get("CHAOS") == "whole"
BUILD = Path(__file__).resolve().parents[3] / "build"
END_SECONDS = 150
GOOD = ("live and confirmed", "already live")


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], Stack]]:
    """The session's own; for the whole table one whose deploys are quicker, in a sandbox of its own.

    It is called with the number of load balancers. There is one fleet at a time, to be gentle to small hosts.
    """
    if not WHOLE:
        yield lambda load_balancers: request.getfixturevalue("stack")
        return
    fleets: dict[int, Stack] = {}
    with ExitStack() as up:

        def of(load_balancers: int) -> Stack:
            if load_balancers not in fleets:
                up.close()
                fleets.clear()
                sandbox = up.enter_context(Sandbox.up(tmp_path_factory.mktemp("sandbox")))
                environment = DemoEnvironment(
                    sandbox,
                    tmp_path_factory.mktemp("chaos"),
                    bake=2,
                    confirm_within=15,
                    load_balancers=load_balancers,
                )
                airflow = tmp_path_factory.mktemp("airflow")
                stack = fleets[load_balancers] = up.enter_context(running(environment, airflow))
                stack.run("deploy", ref="v2").expect("live and confirmed")
            return fleets[load_balancers]

        yield of


@pytest.fixture(scope="module", autouse=True)
def _matrix() -> Iterator[None]:
    yield
    file = BUILD / "chaos.jsonl"
    if WHOLE and file.exists():
        found = {(one.fault, one.phase, one.task): one for one in load(file)}
        cells = [(cell.fault, cell.moment.phase, cell.moment.task) for cell in CELLS]
        (BUILD / "chaos.md").write_text(render([found[cell] for cell in cells if cell in found]))


class Trial:
    """One cell, tried out.

    :param stack: where; a good release is live there.
    :param cell: what goes wrong, and when.
    """

    def __init__(self, stack: Stack, cell: Cell, directory: Path) -> None:
        self.stack, self.cell = stack, cell
        self.fault = FAULTS[cell.fault]
        self.old = stack.live()
        self.good_ref = stack.other_ref()
        self.directory = directory
        self.struck = time.time()
        self.files = files(stack)
        if cell.moment.phase == "building":
            for machine in stack.idle_machines():
                # As on a new droplet.
                machine.run(f"systemctl stop {APP}; rm -rf /opt/{APP}/*")

    def run(self) -> Result:
        """Do it, and say what came of it."""
        # Of two load balancers, faults strike the first one.
        process, judge = start_judge(f"http://{self.stack.load_balancers()[-1].address}/", self.directory)
        try:
            # The judge's first requests are what the rest is compared with.
            self.stack.wait_for(
                lambda: judge.records.exists() and judge.records.stat().st_size > 0, "traffic"
            )
            scene = self._deploy_and_strike()
            ended = self._end_of(scene.run)
            problems = self._problems_after(scene, ended)
            again = self.stack.run("deploy", ref=self.good_ref).report["outcome"]
            seconds = time.time() - self.struck
        finally:
            stop_judge(process)
        seen = summarize(read(judge.records))
        if again not in GOOD:
            problems.append(f"the plain re-run ended {again!r}")
        problems += self._failures(seen)
        problems += leftovers(self.stack)
        problems += sorted(files(self.stack) - self.files)
        return Result(
            fault=self.cell.fault,
            phase=self.cell.moment.phase,
            task=self.cell.moment.task,
            ended=ended,
            again=again,
            requests=seen.requests,
            failed=seen.failed,
            seconds=round(seconds, 1),
            clients_see=self.fault.clients_see,
            problem="; ".join(problems) or None,
        )

    def _deploy_and_strike(self) -> Scene:
        stack = self.stack
        self.fault.prepare(stack)
        run = stack.trigger("deploy", ref=self.cell.ref or self.good_ref)
        scene = Scene(stack, run, self.cell.moment.task, self.old, stack.idle_machines())
        came = self.cell.moment.wait(stack, run)
        self.struck = time.time()
        assert came, f"{self.cell.moment} never came"
        if self.cell.moment.task == "report":
            # The run has done its work, and that must stay.
            self.old = scene.old = stack.live()
        try:
            self.fault.inject(scene)
        finally:
            if self.fault.lasts:
                self._end_of(run)
            self.fault.recover(scene)
        return scene

    def _end_of(self, run: Run) -> str:
        """Wait for it, and say how the run ended by its own report."""
        client = self.stack.client
        try:
            client.wait(run, END_SECONDS)
            report = client.xcom(run, "report", "report")
        except ApiError as error:
            if error.status == 404:
                return "gone"
            raise
        return str(report["outcome"]) if report else "without a word"

    def _problems_after(self, scene: Scene, ended: str) -> list[str]:
        """Look where traffic goes once the load balancer has decided."""
        stack = self.stack

        def decided() -> bool:
            left = [line for balancer in stack.load_balancers() for line in state_left(balancer)]
            return not any("pending" in line for line in left)

        stack.wait_for(decided, "the switch is confirmed or taken back", stack.confirm_within + 30)
        live = stack.live()
        # A run that ended otherwise may have switched, or not: both are good.
        clear = ended in (*GOOD, "rolled back", "refused before the switch")
        problems = []
        if clear and live != self._promised(scene):
            problems.append(f"the run ended {ended!r}, but live is {live}")
        if stack.live_ref() not in ("v1", "v2"):
            problems.append(f"{stack.live_ref()} is live")
        return problems

    def _promised(self, scene: Scene) -> str:
        """The color that the last run to switch for good has named; the old one if none has."""
        switches: dict[float, str] = {}
        for run in filter(None, (scene.run, scene.rival)):
            if self._end_of(run) == "live and confirmed":
                for switch in self.stack.client.xcom(run, "switch_traffic").values():
                    switches[switch["at"]] = switch["to"]
        return switches[max(switches)] if switches else self.old

    def _failures(self, seen: Summary) -> list[str]:
        if seen.failed == 0 or self.fault.clients_see:
            return []
        return [f"{seen.failed} of {seen.requests} requests failed, for example {seen.examples}"]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if WHOLE or cell.is_quick], ids=str)
def test_no_request_fails_and_a_plain_re_run_succeeds(
    fleet: Callable[[int], Stack], cell: Cell, tmp_path: Path
) -> None:
    result = Trial(fleet(cell.load_balancers), cell, tmp_path).run()
    if WHOLE:
        append(result, BUILD / "chaos.jsonl")
    assert result.problem is None, result.problem
