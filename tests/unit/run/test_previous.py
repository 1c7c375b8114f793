"""What a rollback starts, by what was healthy on the droplets."""

from __future__ import annotations

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.previous import HealthyPairing, named_release, running_release
from tests.unit.fleets import healthy

V1, V2 = "a" * 40, "b" * 40
ONE, ANOTHER, TWO = f"{V1}-{'1' * 16}", f"{V1}-{'2' * 16}", f"{V2}-{'1' * 16}"


def on_two(first: list[HealthyPairing], second: list[HealthyPairing]) -> dict[str, list[HealthyPairing]]:
    return {"green-1": first, "green-2": second}


def test_it_is_the_configuration_that_was_healthy_on_every_droplet() -> None:
    known = on_two([healthy(ONE, "c1"), healthy(ONE, "c2")], [healthy(TWO, "c2"), healthy(ONE, "c2")])
    found = named_release(V1[:7], known, Color.GREEN)
    assert (found.release, found.configuration, found.revision) == (ONE, "c2", V1)
    assert found.pairings == dict.fromkeys(known, healthy(ONE, "c2").pairing)
    assert not found.confirmed


def test_what_was_confirmed_everywhere_counts_more_than_what_was_healthy_later() -> None:
    good, rejected = healthy(ONE, "c1", confirmed=True), healthy(ONE, "c2")
    again = healthy(ONE, "c1", pairing="with other workers")
    found = named_release(V1, on_two([rejected, again, good], [rejected, again, good]), Color.GREEN)
    assert (found.configuration, found.confirmed) == ("c1", True)
    assert found.pairings == {"green-1": good.pairing, "green-2": good.pairing}
    half = named_release(V1, on_two([rejected, good], [rejected, healthy(ONE, "c1")]), Color.GREEN)
    assert (half.configuration, half.confirmed) == ("c2", False)


def test_of_several_artifacts_of_a_revision_the_one_that_was_started_last_everywhere_counts() -> None:
    both = on_two([healthy(ANOTHER), healthy(ONE)], [healthy(ONE), healthy(ANOTHER)])
    assert named_release(V1, both, Color.GREEN).release == ANOTHER
    both["green-2"].pop()
    assert named_release(V1, both, Color.GREEN).release == ONE


@pytest.mark.parametrize(
    ("wanted", "second", "text"),
    [
        (
            "c" * 7,
            [healthy(ONE), healthy(TWO)],
            "no release on all droplets of green begins with ccccccc; there are:",
        ),
        (V1, [healthy(TWO)], f"no release on all droplets of green begins with {V1}; there are: b{{12}}. "),
        (V1, [healthy(ONE, "other"), healthy(TWO)], f"no release .* begins with {V1}; there are: b{{12}}. "),
        (V1, [], "there are: none"),
        ("", [healthy(ONE), healthy(TWO)], "more than one release"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    wanted: str, second: list[HealthyPairing], text: str
) -> None:
    with pytest.raises(BlueGreenError, match=text):
        named_release(wanted, on_two([healthy(ONE), healthy(TWO)], second), Color.GREEN)


def test_what_runs_is_what_every_droplet_was_started_with() -> None:
    known = on_two([healthy(TWO), healthy(ONE)], [healthy(ONE), healthy(TWO)])
    started: dict[str, str | None] = dict.fromkeys(known, healthy(ONE).pairing)
    assert running_release(started, known, Color.GREEN).release == ONE
    for other in (healthy(TWO).pairing, "never healthy", None):
        with pytest.raises(BlueGreenError, match="do not all run one release with one configuration"):
            running_release({**started, "green-2": other}, known, Color.GREEN)
    with pytest.raises(BlueGreenError, match="do not all run one release"):
        running_release({"green-1": healthy(ONE).pairing}, known, Color.GREEN)
