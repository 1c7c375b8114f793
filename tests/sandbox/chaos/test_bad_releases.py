"""Releases that are bad in every way that an adversary thinks of: none keeps the traffic from going back.

``make chaos`` runs the whole table; a part of it is in every test run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.errors import ApiError
from sandbox.traffic_records import Outcome, Record, read
from tests.sandbox.app_file import settings
from tests.sandbox.chaos.bad_releases import CELLS, BadRelease, publish
from tests.sandbox.chaos.conftest import WHOLE
from tests.sandbox.chaos.faults import FAULTS, Scene
from tests.sandbox.chaos.judges import Judges
from tests.sandbox.chaos.leftovers import files, half_releases, leftovers, state_left
from tests.sandbox.chaos.moments import Moment
from tests.sandbox.chaos.releases_table import Result, append, load, render
from tests.sandbox.chaos.traffic_watch import Stay, TrafficWatch
from tests.sandbox.stack import SYSTEM_NAME, Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

BUILD = Path(__file__).resolve().parents[3] / "build"
CONFIRM_WITHIN = 20
# A bake longer than an own request may take, and little patience.
SETTINGS = {
    "validation": {"bake": 6, "confirm_within": CONFIRM_WITHIN},
    "health": {"timeout": 10},
    "timeouts": {"drain": 3},
    "server": {"stop_timeout": 5},
}
# The map is looked at from outside, and the timer may be late by what it takes to start a program.
LATE_SECONDS = 2
END_SECONDS = 120
GOOD = ("live and confirmed", "already live")
# What the app has stored is its own, and stays.
STATE = f"/var/lib/{SYSTEM_NAME}"
# As a person does it, or logrotate at night.
CLEAN = (
    f"rm -rf {STATE}/filler {STATE}/files; : >/var/log/syslog; journalctl --quiet --rotate --vacuum-size=1M"
)


@pytest.fixture(scope="module")
def stack_of_releases(
    fleet: Callable[[int], Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The fleet, with every bad release in its repository."""
    stack = fleet(1)
    publish(stack, tmp_path_factory.mktemp("releases"))
    environment = stack.environment
    before, environment.confirm_within = environment.confirm_within, CONFIRM_WITHIN
    with settings(stack, SETTINGS):
        yield stack
    environment.confirm_within = before


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    file = BUILD / "bad_releases.jsonl"
    if WHOLE and file.exists():
        found = load(file)
        results = [found[str(cell)] for cell in CELLS if str(cell) in found]
        (BUILD / "bad_releases.md").write_text(render(results))


class Trial:
    """One bad release, deployed.

    :param stack: where; a good release is live there.
    """

    def __init__(self, stack: Stack, release: BadRelease, directory: Path) -> None:
        self.stack, self.release, self.directory = stack, release, directory
        self.old = stack.live()
        self.new = stack.idle()
        self.good_ref = stack.other_ref()
        self.files = files(stack)

    def run(self) -> Result:
        """Deploy it, then a good release, and return what came of both."""
        stack = self.stack
        with Judges(stack, self.directory) as judges, TrafficWatch(stack.proxy()) as watch:
            began = time.time()
            ended, message = self._deploy()
            problems = self._problems_after(ended)
            stays = watch.stays(self.new)
            seconds = time.time() - began
            again = stack.run("deploy", ref=self.good_ref)
        if again.report["outcome"] not in GOOD:
            problems.append(f"the plain re-run ended {again.report['outcome']!r}: {again.report['message']}")
        records = [record for path in judges.records() for record in read(path)]
        problems += self._too_late(stays)
        problems += self._failures_of_old_color(records, stays)
        problems += leftovers(stack)
        problems += sorted(line for line in files(stack) - self.files if STATE not in line)
        self._clean_disks()
        own = [record for record in records if self._is_bad_releases_own(record, stays)]
        return Result(
            release=str(self.release),
            ended=ended,
            message=message,
            again=again.report["outcome"],
            stayed=round(sum(stay.least for stay in stays), 1),
            requests=len(records),
            failed=len(self._failures_of_old_color(records, stays)),
            own_failures=sum(record.outcome is not Outcome.OK for record in own),
            seconds=round(seconds, 1),
            problem="; ".join(problems) or None,
        )

    def _deploy(self) -> tuple[str, str]:
        """Return how it ended, and its last line."""
        stack, client = self.stack, self.stack.client
        run = stack.trigger("deploy", ref=self.release.tag)
        if self.release.fault:
            fault = FAULTS[self.release.fault]
            scene = Scene(stack, run, "switch_traffic", self.old, stack.idle_machines())
            assert Moment.parse("amid switch_traffic").wait(stack, run), "traffic never moved"
            fault.inject(scene)
            fault.recover(scene)
        client.wait(run, END_SECONDS)
        try:
            report = client.xcom(run, "report", "report") or {}
        except ApiError as error:
            report = {"message": str(error)}
        return str(report.get("outcome", "without a word")), str(report.get("message", ""))

    def _problems_after(self, ended: str) -> list[str]:
        """Look where traffic goes once it is decided, before anybody repairs anything."""
        stack = self.stack
        found = []

        def decided() -> bool:
            return not any("pending" in line for line in state_left(stack.proxy()))

        until(decided, "the switch is confirmed or taken back", stack.confirm_within + 30)
        if self.release.ends and ended not in self.release.ends:
            found.append(f"it ended {ended!r} instead of {' or '.join(self.release.ends)!r}")
        if stack.live() != self.old or stack.live_ref() not in ("v1", "v2"):
            found.append(f"live is {stack.live_ref()} on {stack.live()} after the run, which ended {ended!r}")
        return found + half_releases(stack)

    def _too_late(self, stays: list[Stay]) -> list[str]:
        return [
            f"traffic stayed with the bad release for {stay.least:.1f} s"
            for stay in stays
            if stay.least > CONFIRM_WITHIN + LATE_SECONDS
        ]

    def _is_bad_releases_own(self, record: Record, stays: list[Stay]) -> bool:
        """Whether the bad release had to answer; HAProxy answers for one that does not, without a color."""
        if record.color:
            return record.color == self.new and any(self._is_during(record, stay) for stay in stays)
        return any(self._is_during(record, stay) for stay in stays)

    @staticmethod
    def _is_during(record: Record, stay: Stay) -> bool:
        return stay.began <= record.start <= stay.ended

    def _failures_of_old_color(self, records: list[Record], stays: list[Stay]) -> list[str]:
        """Every request that no bad release can be blamed for has to be answered well."""
        return [
            f"failed: {record}"
            for record in records
            if record.outcome is not Outcome.OK and not self._is_bad_releases_own(record, stays)
        ]

    def _clean_disks(self) -> None:
        """Remove what bad releases have stored and logged: the next one is to meet a healthy fleet."""
        for machine in self.stack.machines(self.new):
            machine.run(CLEAN)


@pytest.mark.parametrize("release", [cell for cell in CELLS if WHOLE or cell.is_quick], ids=str)
def test_traffic_goes_back_and_a_good_release_follows(
    stack_of_releases: Stack, release: BadRelease, tmp_path: Path
) -> None:
    stack_of_releases.end_runs()
    result = Trial(stack_of_releases, release, tmp_path).run()
    if WHOLE:
        append(result, BUILD / "bad_releases.jsonl")
    assert result.problem is None, result.problem
