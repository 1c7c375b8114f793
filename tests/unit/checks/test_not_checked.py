"""What a dry run could not check, and why."""

from __future__ import annotations

import pytest

from bluegreen.checks import revision
from bluegreen.checks.facts import AppServer, Reading
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import Load
from tests.unit.facts import MAIN, facts, load, server
from tests.unit.fleets import DIGEST, V2, released


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ({"green-1": server()}, "no droplet has it yet"),
        (
            {"blue-1": server(releases=(released(V2),))},
            "the droplets that have it cannot load it beside what they do",
        ),
        (
            {"green-1": server(load=load(2, read_only=True))},
            "it wants to write while it loads, and a dry run",
        ),
        ({"green-1": server(load=load(124, "no end within 15 s"))}, "no end within 15 s"),
    ],
)
def test_the_reason_why_a_revision_was_not_loaded_is_listed(
    servers: dict[str, Reading[AppServer]], why: str
) -> None:
    [line] = not_checked(facts(source=MAIN, servers=servers))
    assert line.startswith(f"whether main ({V2[:12]}) loads: {why}")
    assert [*revision.loading(facts(source=MAIN, servers=servers))] == []


@pytest.mark.parametrize("ended", [load(), load(2, "Can't locate Nowhere.pm")])
def test_a_revision_that_was_loaded_is_not_listed_as_unchecked(ended: Load) -> None:
    servers = {"green-1": server(load=ended), "blue-1": server(load=load(124))}
    assert not_checked(facts(source=MAIN, servers=servers)) == []


@pytest.mark.parametrize(("wanted", "listed"), [(DIGEST, 0), ("d" * 64, 1), (None, 0)])
def test_a_revision_that_was_loaded_with_another_configuration_than_a_deploy_s_is_listed(
    wanted: str | None, listed: int
) -> None:
    servers = {"green-1": server(load=load(), releases=(released(V2),))}
    found = not_checked(facts(source=MAIN, servers=servers, configuration=wanted))
    what = "whether main loads with the environment and files that Airflow has now"
    assert found == [f"{what}: a dry run delivers nothing"] * listed
