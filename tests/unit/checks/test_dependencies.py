"""Which distributions a revision needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.checks.dependencies import distributions, fetched, not_vendored
from bluegreen.checks.facts import (
    Source,
)
from tests.unit.distributions import HALF_VENDORED, IN_CPAN, NOT_VENDORED, SNAPSHOT, VENDORED
from tests.unit.fleets import V1
from tests.unit.my_app import app_with


def test_what_a_snapshot_needs_is_looked_for_in_the_repository() -> None:
    source = Source("main", V1, files=frozenset({"vendor/cache/kept"}), cpanfile="", snapshot=SNAPSHOT)
    elsewhere = replace(source, root="backend")
    assert distributions(SNAPSHOT) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    assert not_vendored(source) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    whole = frozenset({f"vendor/cache/authors/id/{distributions(SNAPSHOT)[0]}"})
    assert not_vendored(replace(source, files=whole)) == []
    assert not_vendored(replace(elsewhere, files=whole)) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    below = frozenset(f"backend/{path}" for path in whole)
    assert not_vendored(replace(elsewhere, files=below)) == []


@pytest.mark.parametrize(
    ("installer", "source", "paths"),
    [
        ("carton", NOT_VENDORED, [IN_CPAN]),
        ("carton", HALF_VENDORED, []),
        ("carton", VENDORED, []),
        ("carton", replace(NOT_VENDORED, cpanfile=None), []),
        ("cpanm", NOT_VENDORED, ["modules/02packages.details.txt.gz"]),
        ("cpanm", VENDORED, []),
        ("cpanm", replace(NOT_VENDORED, files=frozenset({"app.psgi"})), []),
        (
            "cpanm",
            replace(NOT_VENDORED, files=frozenset({"Makefile.PL"})),
            ["modules/02packages.details.txt.gz"],
        ),
        ("none", NOT_VENDORED, []),
    ],
)
def test_what_a_build_fetches_depends_on_the_installer(
    installer: str, source: Source, paths: list[str]
) -> None:
    assert fetched(app_with(dependencies={"installer": installer}), source) == paths
