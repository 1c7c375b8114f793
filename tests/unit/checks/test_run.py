"""All checks together."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.checks.facts import (
    Facts,
)
from bluegreen.checks.finding import Finding, warning
from bluegreen.checks.run import findings_in
from bluegreen.errors import BlueGreenError
from tests.unit.facts import facts, server


def test_an_unreadable_proxy_does_not_hide_what_is_wrong_with_a_droplet() -> None:
    found = findings_in(
        facts(
            statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
            servers={"green-1": server(disk_free_mb=3)},
        )
    )
    told = " ".join(one.what for one in found)
    assert "lb-1 cannot be reached" in told
    assert "only 3 MB of disk are free" in told


def test_a_broken_check_is_a_finding_and_hides_no_other() -> None:
    def broken(_: Facts) -> Iterator[Finding]:
        yield warning("before", "found", "do")
        raise KeyError("secret")

    def sound(_: Facts) -> Iterator[Finding]:
        yield warning("after", "found", "do")

    found = findings_in(facts(), [broken, sound])
    assert [one.subject for one in found] == ["check broken", "before", "after"]
    assert "secret" not in str(found)
