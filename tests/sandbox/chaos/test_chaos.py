"""Faults at every moment of a deploy, under load: no request fails, and a plain re-run needs no human.

``make chaos`` runs the whole table; a part of it is in every test run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.client import Run
from demo.environment import DemoEnvironment
from demo.errors import ApiError
from sandbox import Sandbox
from sandbox.traffic_records import Summary, read, summarize
from tests.sandbox.chaos.cells import CELLS, Cell
from tests.sandbox.chaos.faults import FAULTS, Scene
from tests.sandbox.chaos.leftovers import leftovers, state_left
from tests.sandbox.chaos.matrix import Result, append, load, render
from tests.sandbox.stack import Stack, running, start_judge, stop_judge

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

WHOLE = os.environ.get("CHAOS") == "whole"
BUILD = Path(__file__).resolve().parents[3] / "build"
END_SECONDS = 150
GOOD = ("live and confirmed", "already live")


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's own; for the whole table one whose deploys are quicker."""
    if not WHOLE:
        yield request.getfixturevalue("stack")
        return
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    environment = DemoEnvironment(sandbox, tmp_path_factory.mktemp("chaos"), bake=2, confirm_within=15)
    with running(environment, tmp_path_factory.mktemp("airflow")) as stack:
        stack.run("deploy", ref="v2").expect("live and confirmed")
        yield stack


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

    def run(self) -> Result:
        """Do it, and say what came of it."""
        process, judge = start_judge(self.stack.environment.load_balancer_url(), self.directory)
        try:
            # The judge's first requests are what the rest is compared with.
            self.stack.wait_for(
                lambda: judge.records.exists() and judge.records.stat().st_size > 0, "traffic"
            )
            ended = self._deploy_and_strike()
            problems = self._problems_after(ended)
            again = self.stack.run("deploy", ref=self.good_ref).report["outcome"]
            seconds = time.time() - self.struck
        finally:
            stop_judge(process)
        seen = summarize(read(judge.records))
        if again not in GOOD:
            problems.append(f"the plain re-run ended {again!r}")
        problems += self._failures(seen)
        problems += leftovers(self.stack)
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

    def _deploy_and_strike(self) -> str:
        stack = self.stack
        run = stack.trigger("deploy", ref=self.cell.ref or self.good_ref)
        scene = Scene(stack, run, stack.idle_machines())
        came = self.cell.moment.wait(stack.airflow.home.database, run)
        self.struck = time.time()
        assert came, f"{self.cell.moment} never came"
        try:
            self.fault.inject(scene)
        finally:
            if self.fault.lasts:
                self._end_of(run)
            self.fault.recover(scene)
        return self._end_of(run)

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

    def _problems_after(self, ended: str) -> list[str]:
        """Look where traffic goes once the load balancer has decided."""
        stack, balancer = self.stack, self.stack.load_balancer()

        def decided() -> bool:
            return not any("pending" in line for line in state_left(balancer))

        stack.wait_for(decided, "the switch is confirmed or taken back", stack.confirm_within + 30)
        live = stack.live()
        expected = {"live and confirmed": live != self.old, "already live": True}.get(ended)
        if expected is None and ended in ("rolled back", "refused before the switch"):
            expected = live == self.old
        problems = [] if expected is not False else [f"the run ended {ended!r}, but live is {live}"]
        if stack.live_ref() not in ("v1", "v2"):
            problems.append(f"{stack.live_ref()} is live")
        return problems

    def _failures(self, seen: Summary) -> list[str]:
        if seen.failed == 0 or self.fault.clients_see:
            return []
        return [f"{seen.failed} of {seen.requests} requests failed, for example {seen.examples}"]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if WHOLE or cell.is_quick], ids=str)
def test_no_request_fails_and_a_plain_re_run_succeeds(fleet: Stack, cell: Cell, tmp_path: Path) -> None:
    result = Trial(fleet, cell, tmp_path).run()
    if WHOLE:
        append(result, BUILD / "chaos.jsonl")
    assert result.problem is None, result.problem
