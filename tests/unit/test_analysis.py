"""When a switch is kept, and when it is taken back."""

from __future__ import annotations

import pytest

from bluegreen.analysis import Limits, Rate, Sample, p99, too_many_errors, too_slow, wrong_revision

LIMITS = Limits(min_requests=30, max_error_rate=0.01, max_p99_ratio=5)
NEW, OLD = "a" * 40, "b" * 40


def answers(
    count: int, milliseconds: float = 10, status: int | None = 200, revision: str = NEW
) -> list[Sample]:
    return [Sample(milliseconds, status, revision)] * count


def test_twenty_percent_errors_are_too_many_and_both_rates_are_told() -> None:
    verdict = too_many_errors("requests of clients", Rate(100, 20), Rate(1000, 5), LIMITS)
    assert verdict is not None
    assert "20 of 100 requests of clients failed (20.0%; before the switch 0.5%" in verdict


def test_no_verdict_on_a_rate_of_few_requests() -> None:
    assert too_many_errors("x", Rate(29, 29), Rate(0, 0), LIMITS) is None
    assert too_many_errors("x", Rate(30, 30), Rate(0, 0), LIMITS) is not None


def test_errors_that_were_there_before_are_not_the_new_release_s() -> None:
    assert too_many_errors("x", Rate(100, 5), Rate(100, 5), LIMITS) is None


def test_an_answer_of_the_old_revision_is_named() -> None:
    assert (
        wrong_revision(answers(5) + answers(1, revision=OLD), NEW)
        == f"an answer came from {OLD} instead of {NEW}"
    )
    assert wrong_revision(answers(5), NEW) is None


@pytest.mark.parametrize("status", [None, 503])
def test_a_failed_request_is_an_error_but_not_a_wrong_revision(status: int | None) -> None:
    assert wrong_revision([Sample(1, status, None)], NEW) is None
    assert Sample(1, status, None).failed


def test_ten_times_slower_is_too_slow() -> None:
    assert "p99 is 500 ms, before the switch it was 50 ms" in (
        too_slow(answers(50, 500), answers(50, 50), LIMITS) or ""
    )


def test_slowness_that_nobody_notices_is_not_held_against_a_release() -> None:
    assert too_slow(answers(50, 50), answers(50, 2), LIMITS) is None


def test_without_a_baseline_there_is_nothing_to_be_slower_than() -> None:
    assert p99(answers(19)) is None
    assert too_slow(answers(50, 5000), [], LIMITS) is None
