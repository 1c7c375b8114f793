"""What counts as more than chance."""

from __future__ import annotations

from math import comb

import pytest

from bluegreen.validation.significance import (
    BEYOND_LIMIT,
    BEYOND_OLD_RELEASE,
    surely_more_often,
    surely_more_often_than_there,
)


@pytest.mark.parametrize(
    ("events", "trials", "rate", "sure"),
    [
        (0, 0, 0.01, False),
        (2, 30, 0.01, False),
        (3, 30, 0.01, True),
        (7, 250, 0.01, False),
        (8, 250, 0.01, True),
        (250, 250, 0.01, True),
        (5, 5, 1.0, False),
        (5, 5, 1.01, False),
        (1, 1000, 0.0, True),
        (0, 1000, 0.0, False),
    ],
)
def test_more_than_chance(events: int, trials: int, rate: float, sure: bool) -> None:
    assert surely_more_often(events, trials, rate) is sure


@pytest.mark.parametrize("trials", [10, 37, 100, 400])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_it_is_the_exact_binomial_test(trials: int, rate: float) -> None:
    for events in range(trials + 1):
        chance = sum(
            comb(trials, count) * rate**count * (1 - rate) ** (trials - count)
            for count in range(events, trials + 1)
        )
        assert surely_more_often(events, trials, rate) is (chance < BEYOND_LIMIT)


def test_millions_of_requests_are_no_trouble() -> None:
    assert surely_more_often(10_400, 1_000_000, 0.01)
    assert not surely_more_often(10_100, 1_000_000, 0.01)


@pytest.mark.parametrize(
    ("here", "there", "sure"),
    [
        ((9, 100), (0, 20), False),
        ((12, 100), (0, 100), True),
        ((12, 100), (5, 100), False),
        ((0, 0), (0, 0), False),
        ((10, 20), (5, 10), False),
        ((20, 20), (0, 3), True),
    ],
)
def test_a_difference_that_is_more_than_chance(
    here: tuple[int, int], there: tuple[int, int], sure: bool
) -> None:
    assert surely_more_often_than_there(*here, *there) is sure


def test_it_is_fisher_s_exact_test() -> None:
    for events in range(31):
        chance = sum(
            comb(30, count) * comb(20, events + 3 - count) for count in range(events, min(30, events + 3) + 1)
        )
        exact = chance / comb(50, events + 3) < BEYOND_OLD_RELEASE
        assert surely_more_often_than_there(events, 30, 3, 20) is exact
