"""The revision that a deploy would build."""

from __future__ import annotations

import pytest

from bluegreen.checks import revision
from bluegreen.checks.facts import (
    Mirror,
    Source,
)
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.run import findings_in
from bluegreen.errors import PolicyError
from bluegreen.source.policy import Age
from tests.unit.distributions import HALF_VENDORED, NOT_VENDORED, TRY_TINY
from tests.unit.facts import MAIN, V1, facts, load, server


@pytest.mark.parametrize(
    ("source", "mirror", "subject", "severity", "says"),
    [
        (NOT_VENDORED, Mirror(error=None, missing=(TRY_TINY,)), "cpanfile.snapshot", "error", TRY_TINY),
        (NOT_VENDORED, Mirror(error="no route"), "green-1", "error", "it cannot reach http://cpan"),
        (HALF_VENDORED, Mirror(error=None, missing=(TRY_TINY,)), "vendor/cache", "error", TRY_TINY),
        (HALF_VENDORED, Mirror(error="no route"), "vendor/cache", "error", TRY_TINY),
        (HALF_VENDORED, Mirror(error=None), "vendor/cache", "warning", "would fetch that from CPAN"),
    ],
)
def test_missing_distributions_are_named(
    source: Source, mirror: Mirror, subject: str, severity: str, says: str
) -> None:
    sick = facts(source=source, servers={"green-1": server(mirror=mirror)})
    [found] = [*revision.vendored(sick), *revision.mirror(sick)]
    assert (found.subject, found.severity) == (subject, severity)
    assert says in found.what


def test_available_distributions_are_no_finding_and_unasked_ones_are_listed() -> None:
    well = facts(source=NOT_VENDORED, servers={"green-1": server(mirror=Mirror(error=None, unasked=3))})
    assert [*revision.vendored(well), *revision.mirror(well)] == []
    assert any(line.startswith("whether CPAN has 3 of the distributions") for line in not_checked(well))


def test_an_app_that_does_not_load_on_a_live_droplet_stops_no_deploy() -> None:
    ended = load(2, "Can't locate Nowhere.pm")
    found = revision.loading(
        facts(source=MAIN, servers={"blue-1": server(load=ended), "green-1": server(load=ended)})
    )
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_an_app_that_could_not_be_confined_is_a_warning() -> None:
    why = load(None, "it could not be kept from writing: mount: /srv: permission denied")
    [found] = revision.loading(facts(source=MAIN, servers={"green-1": server(load=why)}))
    assert found.severity == "warning"
    assert "not loaded: it could not be kept from writing: mount: /srv" in found.what


def test_a_revision_that_the_policy_refuses_is_an_error_as_it_is_in_a_deploy() -> None:
    refused = PolicyError("abc may not be deployed: … (setting policy.branches)")
    [found] = findings_in(facts(source=refused, config=""), [revision.ref])
    assert (found.severity, found.subject) == ("error", "policy")
    assert "setting policy.branches" in found.what


@pytest.mark.parametrize(("allow_older", "subjects"), [(False, ["policy"]), (True, [])])
def test_a_revision_that_is_older_than_what_is_live_is_an_error_unless_it_is_forced(
    allow_older: bool, subjects: list[str]
) -> None:
    older = facts(source=MAIN, age=Age(V1, 2, is_older=True), allow_older=allow_older)
    assert [one.subject for one in revision.age(older)] == subjects
