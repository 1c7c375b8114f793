"""What a status command says is pending."""

from __future__ import annotations

import pytest

from agent.migration import pending_in

# What Sqitch 1.3.1 writes.
SQITCH = """\
# On database db:sqlite:f.db
# Project:  flipr
# Name:     users
#
Undeployed changes:
  * bad
  * ver
"""


@pytest.mark.parametrize(
    ("output", "pending"),
    [
        (SQITCH, "2 pending"),
        (SQITCH.replace("changes:\n  * bad", "change:"), "1 pending"),
        ("# Name:     users\n# \nNothing to deploy (up-to-date)\n", "none pending"),
        ("checking\n3 migrations wait\n\n", "3 migrations wait"),
        ("\x1b[31mred\x1b[0m\n", "[31mred[0m"),
        (f"3 wait\n{'x' * 300}\n", "3 wait"),
        ("", ""),
    ],
)
def test_sqitch_s_changes_are_counted_and_of_other_commands_the_last_line_is_taken(
    output: str, pending: str
) -> None:
    assert pending_in(output) == pending
