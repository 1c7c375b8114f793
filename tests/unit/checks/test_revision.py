"""The revision that a deploy would build."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.checks import revision
from bluegreen.checks.facts import Source
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import Mirror
from bluegreen.checks.run import Check, findings_in
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.source.policy import Age
from tests.unit.distributions import HALF_VENDORED, IN_CPAN, NOT_VENDORED, TRY_TINY
from tests.unit.facts import MAIN, R1, facts, load, server
from tests.unit.fleets import DIGEST, V1, V2, released
from tests.unit.my_app import app_with

URL = "https://cpan.example/"
HAS_IT = {"releases": (R1, released(V2))}


@pytest.mark.parametrize(
    ("source", "mirror", "subject", "severity", "says"),
    [
        (
            NOT_VENDORED,
            Mirror(url=URL, error=None, missing=(IN_CPAN,)),
            "cpanfile.snapshot",
            "error",
            TRY_TINY,
        ),
        (NOT_VENDORED, Mirror(url=URL, error="no route"), "green-1", "error", f"it cannot reach {URL}"),
        (NOT_VENDORED, Mirror(error="not installed"), "green-1", "error", "it cannot reach a CPAN mirror"),
        (HALF_VENDORED, None, "vendor/cache", "error", TRY_TINY),
    ],
)
def test_missing_distributions_are_named(
    source: Source, mirror: Mirror | None, subject: str, severity: str, says: str
) -> None:
    known = facts(source=source, servers={"green-1": server(mirror=mirror)})
    [found] = [*revision.vendored(known), *revision.mirror(known)]
    assert (found.subject, found.severity) == (subject, severity)
    assert says in found.what


def test_a_mirror_without_an_index_is_none() -> None:
    asked = Mirror(url=URL, error=None, missing=("modules/02packages.details.txt.gz",))
    app = app_with(dependencies={"installer": "cpanm", "mirror": URL})
    [found] = revision.mirror(facts(app=app, source=NOT_VENDORED, servers={"green-1": server(mirror=asked)}))
    assert (found.subject, found.severity) == ("dependencies.mirror", "error")


def test_nothing_is_missing_for_a_revision_that_is_built_already() -> None:
    assert list(revision.vendored(facts(source=HALF_VENDORED, is_built=True))) == []


def test_available_distributions_are_no_finding_and_unasked_ones_are_listed() -> None:
    asked = Mirror(url=URL, error=None, unasked=3)
    known = facts(source=NOT_VENDORED, servers={"green-1": server(mirror=asked)})
    assert [*revision.vendored(known), *revision.mirror(known)] == []
    assert any(line.startswith("whether CPAN has 3 of the distributions") for line in not_checked(known))


@pytest.mark.parametrize(
    ("check", "changes", "subject"),
    [
        (revision.configuration, {"configuration": BlueGreenError("DB_URL is missing")}, "configuration"),
        (revision.store, {"store": BlueGreenError("the store is full")}, "artifacts.store"),
    ],
)
def test_what_a_deploy_could_not_deliver_or_keep_is_an_error(
    check: Check, changes: dict[str, Any], subject: str
) -> None:
    assert [(one.severity, one.subject) for one in check(facts(**changes))] == [("error", subject)]
    assert list(check(facts())) == []


def test_an_app_that_does_not_load_on_a_live_droplet_stops_no_deploy() -> None:
    ended = load(2, "Can't locate Nowhere.pm")
    found = revision.loading(
        facts(source=MAIN, servers={"blue-1": server(load=ended), "green-1": server(load=ended)})
    )
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_an_app_that_lacks_a_variable_that_a_deploy_would_deliver_is_a_warning() -> None:
    ended = load(2, "DB_URL is not set")
    known = facts(source=MAIN, configuration="e" * 64, servers={"green-1": server(load=ended, **HAS_IT)})
    [found] = revision.loading(known)
    assert (found.subject, found.severity) == ("green-1", "warning")
    assert "DB_URL is not set" in found.what
    assert any(
        line.startswith("whether main loads with the environment and files") for line in not_checked(known)
    )
    as_delivered = facts(source=MAIN, configuration=DIGEST, servers={"green-1": server(load=ended, **HAS_IT)})
    assert [one.severity for one in revision.loading(as_delivered)] == ["error"]


def test_an_app_that_could_not_be_confined_is_a_warning() -> None:
    why = load(None, "systemd did not start it in a cage: mount: /srv: permission denied")
    [found] = revision.loading(facts(source=MAIN, servers={"green-1": server(load=why)}))
    assert found.severity == "warning"
    assert "not loaded: systemd did not start it in a cage: mount: /srv" in found.what


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


@pytest.mark.parametrize(("allowed", "severity"), [("refuse", "error"), ("allow", "warning")])
def test_an_irreversible_revision_is_an_error_or_at_least_a_warning(allowed: str, severity: str) -> None:
    app = app_with(migrations={"irreversible": allowed})
    known = facts(source=MAIN, age=Age(V1, 0, is_older=False, irreversible="abc: drops it"), app=app)
    [found] = revision.irreversible(known)
    assert found.severity == severity
    assert "it is irreversible: abc: drops it" in found.what
    assert not list(revision.irreversible(facts(source=MAIN, age=Age(V1, 0, is_older=False), app=app)))
