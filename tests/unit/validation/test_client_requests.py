"""What HAProxy counts of all requests, and what is made of it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from bluegreen.color import Color
from bluegreen.settings.validation import ValidationSettings
from bluegreen.traffic.agent_answers import Counters, ProxyStatus
from bluegreen.validation.client_requests import ClientRequests, Snapshot, average_between
from tests.unit.local_haproxy import Deployed

SETTINGS = ValidationSettings()


def look(requests: int, answer_time: int = 0, **counters: int) -> Snapshot:
    return Snapshot(Counters(requests=requests, **counters), answer_time)


def traffic(before: Counters | None = None, answer_time_before: int = 5) -> ClientRequests:
    return ClientRequests("lb-1", look(10_000, 5), before or Counters(requests=5000), answer_time_before)


def slowed_down(milliseconds: float, rate: int, seconds: int, first: int = 10_000) -> list[Snapshot]:
    """What HAProxy says, once a second, when answers that took 5 ms take longer: 1024 are averaged."""
    average, looks = 5.0, []
    for second in range(1, seconds + 1):
        for _ in range(rate):
            average += (milliseconds - average) / 1024
        looks.append(look(first + rate * second, int(average) + 1))
    return looks


def test_errors_are_compared_with_those_before_the_switch() -> None:
    said = traffic(Counters(requests=4000, responses_5xx=40)).verdict(
        look(11_000, responses_5xx=60), SETTINGS
    )
    assert said == (
        "60 of 1000 requests through lb-1 were answered with 5xx (6.0%; before the switch 1.0% of 4000, "
        "allowed are 1.0% more)"
    )
    assert not traffic(Counters(requests=4000, responses_5xx=200)).verdict(
        look(11_000, responses_5xx=60), SETTINGS
    )


def test_more_errors_than_before_are_allowed_up_to_the_limit() -> None:
    lenient = SETTINGS.model_copy(update={"max_error_rate": 0.05})
    before, now = Counters(requests=4000, responses_5xx=400), look(12_000, responses_5xx=280)
    assert not traffic(before).verdict(now, lenient)
    assert traffic(before).verdict(now, SETTINGS)


def test_few_requests_are_no_verdict() -> None:
    assert not traffic().verdict(look(10_029, responses_5xx=29), SETTINGS)
    assert traffic().verdict(look(10_030, responses_5xx=30), SETTINGS)


def test_attempts_that_failed_are_a_verdict_even_if_the_next_one_succeeded() -> None:
    bad = look(10_100, retries=20, redispatches=20, connection_errors=1)
    assert "41 of 100 requests through lb-1 took more than one attempt" in str(
        traffic().verdict(bad, SETTINGS)
    )
    assert not traffic().verdict(look(10_100, retries=3, redispatches=3), SETTINGS)


def test_a_fixed_release_is_not_compared_with_fast_error_pages() -> None:
    seen = traffic(Counters(requests=5000, responses_5xx=2500))
    assert not any(seen.verdict(one, SETTINGS) for one in slowed_down(50, 250, 10))


def test_a_reload_during_the_bake_starts_the_count_again() -> None:
    seen = traffic()
    assert not seen.verdict(look(100, 5), SETTINGS)
    assert seen.since_switch.requests == 100
    verdicts = [seen.verdict(one, SETTINGS) for one in slowed_down(50, 250, 10, first=100)]
    assert any(verdicts)


@pytest.mark.parametrize("rate", [90, 250, 3000])
def test_clients_that_wait_ten_times_as_long_are_noticed_within_10_seconds(rate: int) -> None:
    seen = traffic()
    verdicts = [seen.verdict(one, SETTINGS) for one in slowed_down(50, rate, 10)]
    assert "requests through lb-1 are answered after" in str(next(filter(None, verdicts), None))


@pytest.mark.parametrize("milliseconds", [5, 8])
def test_clients_that_wait_about_as_long_as_before_are_no_verdict(milliseconds: float) -> None:
    seen = traffic()
    assert not any(seen.verdict(one, SETTINGS) for one in slowed_down(milliseconds, 250, 60))


@pytest.mark.parametrize("when", [(0, 50), (7, 100)])
def test_one_request_that_takes_half_a_minute_is_no_verdict(when: tuple[int, int]) -> None:
    seen, average, requests = traffic(), 5.0, 10_000
    for second in range(30):
        for number in range(250):
            takes = 30_000 if (second, number) == when else 5
            average += (takes - average) / 1024
            requests += 1
        assert not seen.verdict(look(requests, int(average) + 1), SETTINGS)


def test_the_summary_tells_old_from_new() -> None:
    seen = traffic(Counters(requests=4000, responses_5xx=40))
    seen.verdict(slowed_down(20, 250, 4)[-1], SETTINGS)
    new, before = seen.summary()["new"], seen.summary()["before"]
    assert before == {"requests": 4000, "failed": 40, "retried": 0, "answer_time_ms": 5}
    assert new["requests"] == 1000
    assert 18 <= new["answer_time_ms"] <= 22


def test_without_a_past_there_is_nothing_to_be_slower_than() -> None:
    seen = traffic(answer_time_before=0)
    assert not any(seen.verdict(one, SETTINGS) for one in slowed_down(500, 250, 20))


def test_old_requests_are_taken_out_of_the_average() -> None:
    chance = Random(1)  # noqa: S311
    for first in (0, 300, 5000):
        total, average, requests = 0.0, 20.0, first
        for _ in range(400):
            takes = chance.uniform(60, 100)
            requests += 1
            average += (takes - average) / min(requests, 1024)
            total += takes
        found = average_between(look(first, 20), look(requests, int(average) + 1))
        assert found.least <= total / 400 <= found.average + 1
        assert found.average - found.least < 12


def test_haproxy_s_own_averages_are_understood(deployed: Deployed) -> None:
    """Ask a real one: 40 quick requests, then 20 that take 50 ms each."""

    def now() -> Snapshot:
        status = ProxyStatus.parse(deployed.status())
        return Snapshot(status.counters[Color.BLUE], status.answer_times[Color.BLUE])

    looks = [now()]
    for path, requests in (("/", 40), ("/slow?s=0.05", 20)):
        for _ in range(requests):
            deployed.world.get(path)
        looks.append(now())
    quick, slow = (average_between(*pair) for pair in pairwise(looks))
    assert quick.least < 10
    assert 45 < slow.average < 75
    assert slow.least > 35
