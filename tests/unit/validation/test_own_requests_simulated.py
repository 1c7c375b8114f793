"""Many bakes with made-up apps: bad releases are found, good ones are left alone.

Each bake is ten seconds of own requests at the rates of the real thing, looked at once a second. The seeds
are fixed, so a rate that is too low or too high here is a change of the analysis and never bad luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random

import pytest

from bluegreen.settings.validation import OWN_REQUESTS_PER_SECOND, ValidationSettings
from bluegreen.validation.own_requests import Sample, series_of

SECONDS = 10
REVISION = "a" * 40


@dataclass(frozen=True)
class App:
    """How a release answers.

    :param median: of its latency in milliseconds; lognormal with a long tail.
    :param errors: share of its answers that are 500.
    :param spikes: share of its answers that take 400 ms more, as with garbage collection.
    :param paths: how many it is asked for.
    """

    median: float = 5
    errors: float = 0.0
    spikes: float = 0.005
    paths: int = 1

    def samples(self, chance: Random, count: int, second: int, load: float = 1.0) -> list[Sample]:
        """Ask so often; a machine under load answers so many times later."""
        return [
            Sample(
                milliseconds=load * self.median * chance.lognormvariate(0, 0.5)
                + 400 * (chance.random() < self.spikes),
                status=500 if chance.random() < self.errors else 200,
                revision=REVISION,
                path=f"/{number % self.paths}",
                proxy="lb-1",
                at=second + number / count,
            )
            for number in range(count)
        ]


def steady(_chance: Random) -> float:
    return 1.0


def burdened(chance: Random) -> float:
    """Somebody else needs the processors, for a second at a time."""
    return chance.choice((1.0, 1.0, 2.0, 4.0))


def bake(seed: int, old: App, new: App, load: Callable[[Random], float] = steady) -> int | None:
    """Return after how many seconds the new release was found to be bad, or ``None``."""
    chance = Random(seed)  # noqa: S311
    settings = ValidationSettings(bake=SECONDS, paths=[f"/{number}" for number in range(new.paths)])
    before = old.samples(chance, 100, 0)
    seen: list[Sample] = []
    old_now: list[Sample] = []
    for second in range(SECONDS):
        now = load(chance)
        seen += new.samples(chance, int(OWN_REQUESTS_PER_SECOND), second, now)
        old_now += old.samples(chance, int(OWN_REQUESTS_PER_SECOND), second, now)
        if any(series.verdict(settings) for series in series_of(seen, before, old_now)):
            return second + 1
    return None


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """One for each processor."""
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        yield pool


def share_found(
    processes: Executor, bakes: int, old: App, new: App, load: Callable[[Random], float]
) -> float:
    seconds = processes.map(partial(bake, old=old, new=new, load=load), range(bakes), chunksize=10)
    return sum(second is not None for second in seconds) / bakes


@pytest.mark.parametrize(
    ("old", "new", "load", "bakes"),
    [
        (App(), App(), steady, 200),
        (App(), App(), burdened, 500),
        (App(spikes=0.02), App(spikes=0.02), burdened, 200),
        (App(median=200), App(median=200), burdened, 200),
        (App(paths=5), App(paths=5), burdened, 200),
        (App(), App(errors=0.001), steady, 200),
        (App(), App(median=8), burdened, 200),
    ],
    ids=["quick", "burdened", "spikes", "slow", "five paths", "one error in 1000", "a little slower"],
)
def test_a_healthy_release_is_left_alone(
    processes: Executor, old: App, new: App, load: Callable[[Random], float], bakes: int
) -> None:
    assert share_found(processes, bakes, old, new, load) <= 0.005


@pytest.mark.parametrize("errors", [0.03, 0.2, 1.0])
def test_a_path_that_was_flaky_before_is_hardly_ever_held_against_a_release(
    processes: Executor, errors: float
) -> None:
    assert share_found(processes, 100, App(errors=errors), App(errors=errors), steady) <= 0.02


@pytest.mark.parametrize(
    ("old", "new", "load", "bakes"),
    [
        (App(), App(errors=0.05), steady, 500),
        (App(), App(errors=0.05), burdened, 200),
        (App(median=2), App(median=20), steady, 200),
        (App(median=2), App(median=20), burdened, 200),
        (App(median=50), App(median=500), burdened, 200),
        (App(paths=5), App(paths=5, median=50), burdened, 200),
        (App(spikes=0), App(spikes=0.1), steady, 200),
    ],
    ids=["errors", "errors under load", "slow", "slow under load", "not quick before", "five paths", "tail"],
)
def test_a_bad_release_is_found_within_10_seconds(
    processes: Executor, old: App, new: App, load: Callable[[Random], float], bakes: int
) -> None:
    assert share_found(processes, bakes, old, new, load) >= 0.99
