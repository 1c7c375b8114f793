"""Findings: their order, and that they show no password."""

from __future__ import annotations

import pytest

from bluegreen.checks.finding import difference, error, masked, warning, worst_first
from bluegreen.checks.render import summary, table


def test_the_worst_finding_comes_first_and_is_in_the_summary() -> None:
    found = worst_first([warning("a", "odd", "look"), error("b", "bad", "mend"), warning("a", "odd", "look")])
    assert summary(found) == "1 error, 1 warning; the worst: b: bad; mend"
    assert [line.split()[0] for line in table(found)] == ["error", "->", "warning", "->"]
    assert summary([]) == "nothing found"


@pytest.mark.parametrize(
    "line",
    [
        "    stats auth admin:Secret1",
        "    user joe insecure-password Secret1",
        "DB_PASSWORD=Secret1",
        "api_token: Secret1",
    ],
)
def test_passwords_are_not_shown(line: str) -> None:
    assert "Secret1" not in masked(line)
    assert "Secret1" not in "\n".join(difference("file", line, "other"))


def test_a_changed_password_is_reported_without_showing_it() -> None:
    [line] = difference("file", "stats auth admin:Secret1", "stats auth admin:Secret2")
    assert "password" in line
    assert "Secret" not in line
