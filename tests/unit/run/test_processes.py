"""Which droplets are to run what: also where the droplets of a color do not have the same settings."""

from __future__ import annotations

from typing import Any

import pytest

from agent.processes import ProcessState, RunOn
from bluegreen.color import Color
from bluegreen.run.processes import Placement, ProcessFact
from tests.unit.app_with_processes import process
from tests.unit.process_droplets import TWO_EACH

FIRST, SECOND = TWO_EACH.green
ONE, ALL = {"droplets": RunOn.ONE}, {"droplets": RunOn.ALL}


def placement(first: tuple[ProcessFact, ...], second: tuple[ProcessFact, ...]) -> Placement:
    """Green is live; its droplets report this."""
    nothing: dict[Any, tuple[ProcessFact, ...]] = dict.fromkeys(TWO_EACH.blue, ())
    return Placement(TWO_EACH, Color.GREEN, {**nothing, FIRST: first, SECOND: second})


@pytest.mark.parametrize("name", ["worker", "cleanup"])
@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (ONE, ONE, [True, False]),
        (ALL, ALL, [True, True]),
        # One of them has been installed anew since the setting was changed.
        (ONE, ALL, [True, False]),
        (ALL, ONE, [True, False]),
        (None, ONE, [False, True]),
        (None, ALL, [False, True]),
        (ONE, None, [True, False]),
        ({"droplets": None}, ONE, [False, True]),
    ],
)
def test_what_one_droplet_is_to_run_alone_runs_on_the_first_that_has_it(
    name: str, first: dict[str, Any] | None, second: dict[str, Any] | None, wanted: list[bool]
) -> None:
    facts = [() if how is None else (process(name, runs=False, **how),) for how in (first, second)]
    other = process("mailer", runs=True)
    found = placement((*facts[0], other), (*facts[1], other))
    assert [name in found.wanted(one) for one in (FIRST, SECOND)] == wanted
    assert [name in found.missing(one) for one in (FIRST, SECOND)] == wanted


@pytest.mark.parametrize(
    ("changes", "is_surplus"),
    [
        # An instance that somebody has started beyond the count, or that ends at last.
        ({"droplets": None}, True),
        ({"state": ProcessState.STOPPING}, True),
        ({"state": ProcessState.RESTARTING}, False),
        ({}, False),
    ],
)
def test_a_unit_too_many_is_stopped_although_its_name_is_to_run(
    changes: dict[str, Any], is_surplus: bool
) -> None:
    extra = process("worker", runs=True, unit="app-my_perl_app-worker@9.service", **changes)
    found = placement((process("worker", runs=True), extra), ())
    assert ("worker" in found.surplus(FIRST)) is is_surplus
    assert "worker" in found.wanted(FIRST)
