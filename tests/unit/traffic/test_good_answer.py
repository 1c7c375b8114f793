"""What counts as a good answer of an app."""

from __future__ import annotations

import pytest

from bluegreen.traffic.good_answer import allowed, is_good


@pytest.mark.parametrize(
    ("status", "statuses", "good"),
    [
        (200, (), True),
        (299, (), True),
        (199, (), False),
        (300, (), False),
        (301, (), False),
        (404, (), False),
        (500, (), False),
        (None, (), False),
        (302, (302, 401), True),
        (401, (302, 401), True),
        (200, (302, 401), False),
        (None, (302,), False),
    ],
)
def test_only_success_is_good_unless_the_settings_name_other_statuses(
    status: int | None, statuses: tuple[int, ...], good: bool
) -> None:
    assert is_good(status, statuses) is good


def test_the_good_statuses_are_described_for_people() -> None:
    assert (allowed(), allowed((302, 401))) == ("200 to 299", "302, 401")
