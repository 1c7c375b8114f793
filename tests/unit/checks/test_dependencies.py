"""Which distributions a revision needs."""

from __future__ import annotations

from dataclasses import replace

from bluegreen.checks.dependencies import distributions, not_vendored
from bluegreen.checks.facts import (
    Source,
)
from tests.unit.distributions import SNAPSHOT
from tests.unit.facts import V1


def test_what_a_snapshot_needs_is_looked_for_in_the_repository() -> None:
    source = Source("main", V1, files=frozenset({"vendor/cache/kept"}), cpanfile="", snapshot=SNAPSHOT)
    assert distributions(SNAPSHOT) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    assert not_vendored(source) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    whole = frozenset({f"vendor/cache/authors/id/{distributions(SNAPSHOT)[0]}"})
    assert not_vendored(replace(source, files=whole)) == []
