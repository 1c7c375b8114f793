"""Revisions that do, and do not, bring their distributions along."""

from __future__ import annotations

from dataclasses import replace

from bluegreen.checks.facts import (
    Source,
)
from tests.unit.fleets import V2

SNAPSHOT = """# carton snapshot format: version 1.0
DISTRIBUTIONS
  Try-Tiny-0.31
    pathname: E/ET/ETHER/Try-Tiny-0.31.tar.gz
    provides:
      Try::Tiny 0.31
"""


TRY_TINY = "E/ET/ETHER/Try-Tiny-0.31.tar.gz"
# Its place on a mirror.
IN_CPAN = f"authors/id/{TRY_TINY}"


NOT_VENDORED = Source(
    "main", V2, files=frozenset({"app.psgi", "cpanfile"}), cpanfile="requires 'X';\n", snapshot=SNAPSHOT
)


HALF_VENDORED = replace(NOT_VENDORED, files=frozenset({"vendor/cache/kept"}))


VENDORED = replace(NOT_VENDORED, files=frozenset({f"vendor/cache/authors/id/{TRY_TINY}"}))
