"""Faults at every moment of a deploy, under load: no request fails, and a plain re-run needs no human.

``make chaos`` runs the whole table; a part of it is in every test run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from demo.client import Run
from demo.errors import ApiError
from tests.sandbox.chaos.cells import ALL_FAULTS, CELLS, Cell
from tests.sandbox.chaos.conftest import WHOLE
from tests.sandbox.chaos.faults import Scene
from tests.sandbox.chaos.judges import Judges, Seen
from tests.sandbox.chaos.ledgers import attempts_to_find, problems_in_ledgers
from tests.sandbox.chaos.leftovers import files, half_releases, leftovers, state_left
from tests.sandbox.chaos.matrix import Result, append, load, render
from tests.sandbox.chaos.state_watch import StateWatch
from tests.sandbox.stack import SYSTEM_NAME, Stack
from tests.sandbox.state.state_fleet import PATHS, StateEnvironment
from tests.sandbox.way_back import make_sure_of_a_way_back
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

BUILD = Path(__file__).resolve().parents[3] / "build"
END_SECONDS = 150
GOOD = ("live and confirmed", "already live")


@pytest.fixture(scope="module", autouse=True)
def _matrix() -> Iterator[None]:
    yield
    file = BUILD / "chaos.jsonl"
    if WHOLE and file.exists():
        found = {(one.fault, one.phase, one.task): one for one in load(file)}
        cells = [(cell.row, cell.moment.phase, cell.moment.task) for cell in CELLS]
        (BUILD / "chaos.md").write_text(render([found[cell] for cell in cells if cell in found]))


class Trial:
    """One cell, tried out.

    :param stack: where; a good release is live there.
    :param cell: what goes wrong, and when.
    """

    def __init__(self, stack: Stack, cell: Cell, directory: Path) -> None:
        self.stack, self.cell = stack, cell
        self.fault = ALL_FAULTS[cell.fault]
        if "rollback" in (cell.kind, cell.again):
            make_sure_of_a_way_back(stack)
        self.old = stack.live()
        self.good_ref = stack.other_ref()
        self.ref = cell.ref or self.good_ref
        self.directory = directory
        self.struck = time.time()
        self.files = files(stack)
        environment = stack.environment
        self.watch = (
            StateWatch(stack, environment.services) if isinstance(environment, StateEnvironment) else None
        )
        if str(cell.moment) in ("amid build", "amid deploy"):
            self._forget_release()
        if cell.moment.task == "render_and_reload":
            # Nobody knows then what HAProxy has loaded; otherwise the task would have nothing to do.
            stack.proxy().run("systemctl reload haproxy")

    def run(self) -> Result:
        """Run the cell and return its result.

        A run that was good in the end, and left nothing behind, needs no plain re-run to prove so: the deploy
        of the next cell starts from what it left. That saves an hour.
        """
        paths = PATHS if self.watch else ()
        with Judges(self.stack, self.directory, paths) as judges, self.watch or nullcontext():
            scene = self._run_and_strike()
            ended = self._end_of(scene.run)
            problems = self._problems_after(scene, ended)
            left = self._left(scene, ended)
            again = None
            if left or ended not in GOOD or self.cell.again != self.cell.kind:
                again = self.stack.run(self.cell.again, **self._conf(self.cell.again, self.good_ref))
            seconds = time.time() - self.struck
            self.fault.afterwards(scene)
        if again:
            left = self._left(scene, ended, again.run)
            if again.report["outcome"] not in GOOD:
                problems.append(f"the plain re-run ended {again.report['outcome']!r}")
            problems += self._bad_release("after the plain re-run")
        problems += self.watch.problems() if self.watch else []
        problems += [problem for seen in judges.seen() for problem in self._failures(seen)]
        return Result(
            fault=self.cell.row,
            phase=self.cell.moment.phase,
            task=self.cell.moment.task,
            ended=ended,
            again=again.report["outcome"] if again else "",
            requests=sum(seen.summary.requests for seen in judges.seen()),
            failed=sum(seen.summary.failed for seen in judges.seen() if not self._is_excused(seen)),
            seconds=round(seconds, 1),
            clients_see=self.fault.clients_see,
            problem="; ".join(problems + left) or None,
        )

    def _left(self, scene: Scene, ended: str, *later: Run) -> list[str]:
        """Return what the run has left behind on the machines, or has not written down there."""
        return [
            *leftovers(self.stack),
            *(self.watch.misplaced() if self.watch else []),
            *sorted(files(self.stack) - self.files),
            *self._problems_in_ledgers(scene, *later, silent=ended == "without a word"),
        ]

    def _forget_release(self) -> None:
        """Let there be something to build, and to install, on the idle droplets."""
        revision = self.stack.revisions[self.ref]
        for machine in self.stack.idle_machines():
            if self.cell.ref is None:
                # As on a new droplet.
                machine.run(f"systemctl stop {SYSTEM_NAME}; rm -rf /opt/{SYSTEM_NAME}/*")
            else:
                root = f"/opt/{SYSTEM_NAME}"
                machine.run(f"rm -rf {root}/releases/{revision}-* {root}/cache/*")
        if self.cell.moment.task == "build":
            shutil.rmtree(self.stack.cache / "artifacts", ignore_errors=True)

    @staticmethod
    def _conf(kind: str, ref: str) -> dict[str, str]:
        return {"ref": ref} if kind == "deploy" else {}

    def _run_and_strike(self) -> Scene:
        stack, kind = self.stack, self.cell.kind
        self.fault.prepare(stack)
        run = stack.trigger(kind, **self._conf(kind, self.ref))
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
        """Look where traffic goes once the proxy has decided, before anybody mends anything."""
        stack = self.stack

        def decided() -> bool:
            left = [line for proxy in stack.proxies() for line in state_left(proxy)]
            return not any("pending" in line for line in left)

        until(decided, "the switch is confirmed or taken back", stack.confirm_within + 30)
        return [
            *self._broken_promises(scene, ended),
            *self._bad_release(f"after the run, which ended {ended!r}"),
            *half_releases(stack),
        ]

    def _broken_promises(self, scene: Scene, ended: str) -> list[str]:
        """Compare what the run said in the end with what is so."""
        live, ref = self.stack.live(), self.stack.live_ref()
        if ended == "already live":
            return [] if ref == self.ref else [f"{self.ref} is 'already live', but {ref} is live"]
        # A run that ended otherwise may have switched, or not: both are good.
        clear = ended in (*GOOD, "rolled back", "refused before the switch")
        if clear and live != self._promised(scene):
            return [f"the run ended {ended!r}, but live is {live}"]
        return []

    def _promised(self, scene: Scene) -> str:
        """The color that the last run to switch for good has named; the old one if none has."""
        switches: dict[float, str] = {}
        for run in filter(None, (scene.run, scene.rival)):
            if self._end_of(run) == "live and confirmed":
                for switch in self.stack.client.xcom(run, "switch_traffic").values():
                    switches[switch["at"]] = switch["to"]
        return switches[max(switches)] if switches else self.old

    def _bad_release(self, when: str) -> list[str]:
        ref = self.stack.live_ref()
        return [] if ref in ("v1", "v2") else [f"{when} {ref} is live"]

    def _is_excused(self, seen: Seen) -> bool:
        """Whether the fault itself may answer these clients."""
        return bool(self.fault.clients_see) and seen.struck

    def _failures(self, seen: Seen) -> list[str]:
        found = seen.summary
        if found.failed == 0 or self._is_excused(seen):
            return []
        return [
            f"{found.failed} of {found.requests} requests to {seen.proxy} failed, "
            f"for example {found.examples}"
        ]

    def _problems_in_ledgers(self, scene: Scene, *later: Run, silent: bool) -> list[str]:
        # DigitalOcean is asked for them before their lock is taken.
        knew = not self.cell.fault.startswith("DigitalOcean") or bool(
            self.stack.client.xcom(scene.run, "lock")
        )
        cleared_whole = self.cell.fault == "the run is cleared"
        attempts = {
            run: attempts_to_find(self.stack, run, knew=knew, cleared_whole=cleared_whole, silent=silent)
            for run in (scene.run, scene.rival)
            if run is not None
        }
        return problems_in_ledgers(self.stack, attempts | {run: {0} for run in later})


@pytest.mark.parametrize("cell", [cell for cell in CELLS if WHOLE or cell.is_quick], ids=str)
def test_no_request_fails_and_a_plain_re_run_succeeds(
    fleet: Callable[..., Stack], cell: Cell, tmp_path: Path
) -> None:
    stack = fleet(cell.proxies, stateful=cell.stateful)
    # What a cell that broke off has left at work would be taken for this one's doing.
    stack.end_runs()
    result = Trial(stack, cell, tmp_path).run()
    if WHOLE:
        append(result, BUILD / "chaos.jsonl")
    assert result.problem is None, result.problem
