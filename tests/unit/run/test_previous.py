"""Which release a rollback starts, by what was healthy on the droplets."""

from __future__ import annotations

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.previous import PreviousRelease, previous_release

V1, V2 = "a" * 40, "b" * 40
ONE, ANOTHER, TWO = f"{V1}-{'1' * 16}", f"{V1}-{'2' * 16}", f"{V2}-{'1' * 16}"


def test_it_is_started_with_the_configuration_that_it_was_healthy_with_on_each_droplet() -> None:
    activated = {"green-1": {TWO: "c1", ONE: "c1"}, "green-2": {TWO: "c1", ONE: "c2"}}
    found = previous_release(V1[:7], activated, Color.GREEN)
    assert found == PreviousRelease(release=ONE, configurations={"green-1": "c1", "green-2": "c2"})
    assert found.revision == V1


def test_of_several_artifacts_of_a_revision_the_one_that_was_started_last_everywhere_counts() -> None:
    activated = {"green-1": {ANOTHER: "c", ONE: "c"}, "green-2": {ONE: "c", ANOTHER: "c"}}
    assert previous_release(V1, activated, Color.GREEN).release == ANOTHER
    activated["green-2"].pop(ANOTHER)
    assert previous_release(V1, activated, Color.GREEN).release == ONE


@pytest.mark.parametrize(
    ("wanted", "second", "text"),
    [
        (
            "c" * 7,
            {ONE: "c", TWO: "c"},
            "no release on all droplets of green begins with ccccccc; there are:",
        ),
        (V1, {TWO: "c"}, f"no release on all droplets of green begins with {V1}; there are: bbbbbbbbbbbb. "),
        (V1, {}, "there are: none"),
        ("", {ONE: "c", TWO: "c"}, "more than one release"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted: str, second: dict[str, str], text: str) -> None:
    with pytest.raises(BlueGreenError, match=text):
        previous_release(wanted, {"green-1": {ONE: "c", TWO: "c"}, "green-2": second}, Color.GREEN)
