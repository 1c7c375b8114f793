"""When our own requests say that a release is bad, and when they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bluegreen.settings.validation import ValidationSettings
from bluegreen.validation.own_requests import Sample, p99, series_of, wrong_revision

SETTINGS = ValidationSettings(paths=["/", "/cart"])
NEW, OLD = "a" * 40, "b" * 40


def answers(
    count: int, milliseconds: float = 5, status: int | None = 200, path: str = "/", **fields: object
) -> list[Sample]:
    sample = Sample(milliseconds, status, NEW, path=path, proxy="lb-1", at=10.0)
    return [replace(sample, **fields)] * count  # type: ignore[arg-type]


def verdict(
    new: Sequence[Sample],
    before: Sequence[Sample] = (),
    old_now: Sequence[Sample] = (),
    settings: ValidationSettings = SETTINGS,
) -> str:
    """Say the first verdict, or nothing."""
    verdicts = (series.verdict(settings) for series in series_of(new, before, old_now))
    return next(filter(None, verdicts), "")


def alternating(good: int, bad: int, **fields: object) -> list[Sample]:
    """Spread failures evenly, so that not many are in a row."""
    each = answers(good // bad) + answers(1, status=500)
    return [replace(sample, **fields) for sample in each * bad]  # type: ignore[arg-type]


def test_too_many_errors_are_reported_with_path_and_both_rates() -> None:
    said = verdict(alternating(80, 20), answers(100))
    assert said == (
        "20 of 100 own requests to / failed (20.0%, the last through lb-1 with status 500; the old release "
        "before the switch 0.0%, now 0.0%; allowed are 1.0% more)"
    )


def test_one_broken_path_is_not_diluted_by_healthy_ones() -> None:
    others = [sample for number in range(5) for sample in answers(200, path=f"/{number}")]
    assert "own requests to /cart failed" in verdict(alternating(90, 10, path="/cart") + others)


def test_no_verdict_on_a_rate_of_few_requests() -> None:
    assert not verdict(alternating(16, 8))
    assert verdict(alternating(20, 10))


def test_two_failures_may_be_chance() -> None:
    assert not verdict(alternating(38, 2))


def test_failures_in_a_row_need_no_minimum_of_requests() -> None:
    said = verdict(answers(3) + answers(5, status=503), answers(100))
    assert said.startswith(
        "5 own requests in a row to / through lb-1 failed, the last with status 503; before"
    )
    assert not verdict(answers(3) + answers(4, status=503), answers(100))


def test_failures_in_a_row_are_those_through_one_proxy() -> None:
    one, other = answers(3, status=503), answers(3, status=503, proxy="lb-2")
    assert not verdict(one + other, answers(100))
    assert "through lb-2" in verdict(one + other * 2, answers(100))


@pytest.mark.parametrize("status", [301, 302, 404])
def test_a_redirect_or_an_error_of_the_new_release_alone_is_a_failure(status: int) -> None:
    said = verdict(answers(3) + answers(5, status=status), answers(100))
    assert f"failed, the last with status {status}, allowed are 200 to 299;" in said


def test_a_status_that_the_settings_name_is_no_failure() -> None:
    assert not verdict(answers(100, status=302, statuses=(302,)), answers(100, status=302, statuses=(302,)))


def test_empty_answers_are_a_verdict_where_the_old_release_has_content() -> None:
    full, empty = answers(60, size=2000), answers(60, size=0)
    assert "60 of 60 answers to own requests to / are empty (100.0%; of the old" in verdict(empty, full)
    assert "30 of 90 answers" in verdict(full + answers(30, size=0), full)
    assert not verdict(empty, empty)
    assert not verdict(full + answers(1, size=0), full)
    assert not verdict(answers(60, size=0, status=204), full)
    assert not verdict(empty)


def test_without_an_old_release_only_the_limits_count() -> None:
    assert verdict(answers(3) + answers(5, status=503)).endswith("with status 503 (allowed are 4)")
    assert verdict(alternating(80, 20)).endswith("with status 500; allowed are 1.0%)")
    assert not verdict(answers(100, milliseconds=4000))


def test_a_path_that_was_broken_before_is_no_verdict() -> None:
    assert not verdict(answers(200, status=500), answers(50, status=500))


def test_a_path_that_was_a_little_broken_before_is_one_only_if_it_gets_worse() -> None:
    assert not verdict(alternating(180, 20), alternating(90, 10))
    assert verdict(alternating(120, 80), alternating(90, 10))


def test_more_errors_than_before_are_allowed_up_to_the_limit() -> None:
    lenient = SETTINGS.model_copy(update={"max_error_rate": 0.2})
    before, new = alternating(210, 90), alternating(180, 120)
    assert not verdict(new, before, settings=lenient)
    assert not verdict(new, answers(20), before, settings=lenient)
    assert verdict(new, before)


def test_what_fails_in_the_old_release_now_is_not_the_new_one_s_fault() -> None:
    assert not verdict(alternating(190, 10), answers(100), alternating(57, 3))


def test_a_request_that_reached_no_proxy_is_not_counted() -> None:
    assert not verdict(answers(100, status=None, lost=True), answers(100))
    assert verdict(answers(100, status=None, error="ReadTimeout"), answers(100))


def test_a_quick_app_that_gets_ten_times_slower_is_noticed() -> None:
    said = verdict(answers(50, 20), answers(50, 2), answers(10, 1.5))
    assert said == (
        "the median of 50 own requests to / is 20 ms, of the old release it is 2 ms (allowed are 10 ms)"
    )


def test_latency_below_the_floor_is_not_held_against_a_release() -> None:
    assert not verdict(answers(50, 9), answers(50, 1))


def test_a_slow_tail_is_noticed_even_if_the_median_is_not_slower() -> None:
    said = verdict(answers(90, 5) + answers(10, 900), answers(100, 5))
    assert said.startswith("p99 of 100 own requests to / is 900 ms, of the old release it is 5 ms")


def test_a_few_spikes_are_not_a_slow_tail() -> None:
    assert not verdict(answers(196, 5) + answers(4, 2000), answers(100, 5))


def test_the_first_requests_of_cold_workers_are_no_slow_tail() -> None:
    assert not verdict(answers(16, 800, at=0.5) + answers(84, 5), answers(100, 5))


def test_slowness_that_the_old_release_shares_is_not_the_new_one_s() -> None:
    assert not verdict(answers(100, 50), answers(100, 5), answers(25, 40))


def test_quick_error_pages_do_not_make_a_release_look_fast() -> None:
    assert "the median" in verdict(
        answers(40, 100) + answers(60, 1, status=500), answers(30, 1, status=500) * 2 + answers(50, 5)
    )


@pytest.mark.parametrize("status", [404, 302])
def test_new_pages_are_not_compared_with_fast_404s(
    status: int,
) -> None:
    quick = answers(50, 2, status)
    assert not verdict(answers(50, 200), quick, quick)
    assert verdict(answers(50, 200), answers(50, 2), quick)


def test_without_a_baseline_there_is_nothing_to_be_slower_than() -> None:
    assert not verdict(answers(50, 4000))


def test_an_answer_of_the_old_revision_is_named() -> None:
    assert wrong_revision(answers(5) + answers(1, revision=OLD), NEW) == (
        f"an answer to / through lb-1 (status 200) came from {OLD} instead of {NEW}"
    )
    assert wrong_revision(answers(5), NEW) is None


@pytest.mark.parametrize("status", [None, 503])
def test_a_failed_request_is_an_error_but_not_a_wrong_revision(status: int | None) -> None:
    assert wrong_revision([Sample(1, status, None)], NEW) is None
    assert Sample(1, status, None).failed


def test_p99_of_few_values_is_the_largest() -> None:
    assert p99([1, 3, 2]) == 3
    assert p99(list(range(1, 201))) == 198


def test_the_summary_tells_old_from_new() -> None:
    [series] = series_of(answers(9, 20) + answers(1, status=500), answers(10, 2))
    assert series.summary() == {
        "new": {"requests": 10, "failed": 1, "median_ms": 20, "p99_ms": 20},
        "before": {"requests": 10, "failed": 0, "median_ms": 2, "p99_ms": 2},
        "old_now": {"requests": 0, "failed": 0, "median_ms": None, "p99_ms": None},
    }
