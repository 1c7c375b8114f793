"""The bake: what ends it, and what does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import create_autospec

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import final_validation as validate
from bluegreen.operators.final_validation import FinalValidationOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.plan import Plan
from bluegreen.traffic.agent_answers import Counters
from bluegreen.validation.evidence import Evidence
from bluegreen.validation.own_requests import Sample
from bluegreen.validation.sampler import ProbeOptions
from tests.unit.runs import running

NEW, OLD = "a" * 40, "b" * 40
GOOD, BAD = Sample(5, 200, NEW, proxy="lb-1"), Sample(5, 500, NEW, proxy="lb-1")
LOST = DropletUnreachableError("lb-1: the SSH connection was lost")
# A bake that lasts to its end outlives any test: its verdict came early.
BEYOND_ANY_TEST = 3600.0
LB = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("198.18.0.1"), private=None)

NOTHING_SET: dict[str, Any] = {}

Reading = Exception | dict[str, Any]
Bake = Callable[..., dict[str, Any]]


def reading(live: Color = Color.GREEN, requests: int = 1000, failed: int = 0, retries: int = 0) -> Reading:
    counters = {Color.GREEN: Counters(requests=requests, responses_5xx=failed, retries=retries)}
    return {"lb-1": SimpleNamespace(live=live, counters=counters, answer_times={}, pending=None)}


class Samples:
    """Stands in for a sampler: the old color, if it is asked at all, is fine."""

    seen: Sequence[Sample] = ()
    last: Sequence[Sample] = ()
    asked: ClassVar[list[Any]] = []

    def __init__(self, targets: Sequence[Any], options: ProbeOptions, **_: object) -> None:
        idle = options.headers.get("Host") == "green.example.com"
        self._paths = set() if idle else {path for path, _ in targets}
        self._samples = self._of_these(self.seen)
        self.asked.append((targets, dict(options.headers)))

    def __enter__(self) -> Samples:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def samples(self) -> list[Sample]:
        return self._samples

    def stop(self) -> None:
        pass

    def finish(self) -> list[Sample]:
        return [*self._samples, *self._of_these(self.last)]

    def _of_these(self, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in samples if sample.path in self._paths]


@pytest.fixture
def bake(monkeypatch: pytest.MonkeyPatch) -> Bake:
    def bake(
        *readings: Reading | float,
        samples: Sequence[Sample] = (GOOD,) * 50,
        seconds: float = 0.4,
        before: Sequence[Sample] = (),
        last: Sequence[Sample] = (),
        unproven: Sequence[str] = (),
        emergency: bool = False,
        traffic: dict[str, Any] = NOTHING_SET,
        paths: Sequence[str] = (),
        **settings: Any,
    ) -> dict[str, Any]:
        """Watch a color with these readings of the proxy, or seconds without; the last repeats."""
        left = list(readings)
        hook = create_autospec(ProxiesHook, instance=True)

        def statuses() -> dict[str, Any]:
            now = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(now, float):
                time.sleep(now)
                return {}
            if isinstance(now, Exception):
                raise now
            return now

        hook.statuses.side_effect = statuses
        monkeypatch.setattr(ProxiesHook, "holding", lambda *_: hook)
        monkeypatch.setattr(validate, "UNREADABLE_SECONDS", 0.5)
        monkeypatch.setattr(validate, "LOOK_SECONDS", 0.02)
        monkeypatch.setattr(validate, "READING_PAUSE", 0.05)
        monkeypatch.setattr(validate, "FRESH_SECONDS", 0.2)
        given = {"seen": samples, "last": last, "asked": []}
        bake.asked = given["asked"]  # type: ignore[attr-defined]
        monkeypatch.setattr(validate, "Sampler", type("Given", (Samples,), given))
        monkeypatch.setattr(validate, "preview_key", lambda _: "k" * 16)
        plan = Plan(
            live=Color.BLUE,
            idle=Color.GREEN,
            fleet=Fleet(proxies=(LB,), blue=(), green=()),
            counters={"lb-1": Counters(requests=5000)},
        )
        counters = {"green": {}, "blue": {"requests": 7000, "responses_5xx": 20}}
        operator = FinalValidationOperator(
            app_id="my_perl_app",
            task_id="final_validation",
            lock={"proxies": [], "tokens": {"lb-1": 7}},
            plan=plan.model_dump(mode="json"),
            revision=NEW,
            switched={"lb-1": {"ok": True, "from": "blue", "to": "green", "counters": counters}},
            baseline={"samples": [asdict(sample) for sample in before], "unproven": list(unproven)},
            **settings,
        )
        answered = dict.fromkeys(sample.path for sample in [*samples, *last] if sample.path != "/health")
        changes = {"bake": seconds, "paths": list(paths or answered)}
        app = operator.app.model_copy(
            update={
                "validation": operator.app.validation.model_copy(update=changes),
                "traffic": operator.app.traffic.model_copy(update=traffic),
            }
        )
        operator.__dict__["app"] = app
        params = {"emergency": emergency}
        run: Any = {**running("final_validation").context, "params": params}
        run["dag"].params = params
        return operator.act(ThisRun(run))

    return bake


def test_a_good_color_is_watched_to_the_end(bake: Bake) -> None:
    seen = bake(reading())
    assert seen["bake_seconds"] >= 0.4
    assert seen["all_requests"]["lb-1"]["new"]["requests"] == 1000
    before = seen["all_requests"]["lb-1"]["before"]
    assert (before["requests"], before["failed"]) == (2000, 20)
    assert seen["own_requests"]["/"]["new"]["requests"] == 50


def test_what_a_rollback_goes_back_to_need_not_be_as_quick_as_what_it_comes_from(bake: Bake) -> None:
    slow, quick = [replace(GOOD, milliseconds=200, at=5.0)] * 50, [replace(GOOD, revision=OLD)] * 50
    with pytest.raises(BlueGreenError, match="the median of 50 own requests to / is 200 ms"):
        bake(reading(), samples=slow, before=quick)
    assert bake(reading(), samples=slow, before=quick, goes_back=True)
    with pytest.raises(BlueGreenError, match="failed"):
        bake(reading(), samples=[BAD] * 50, before=quick, goes_back=True)


def test_errors_of_clients_alone_end_it_at_the_first_look(bake: Bake) -> None:
    with pytest.raises(
        BlueGreenError,
        match=r"the new release is bad: 50 of 1000 requests through lb-1 were answered with 5xx",
    ):
        bake(reading(failed=50), seconds=BEYOND_ANY_TEST)


def test_errors_that_clients_had_before_are_no_verdict(bake: Bake) -> None:
    assert bake(reading(failed=15))


def test_servers_that_do_not_take_requests_end_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="90 of 1000 requests through lb-1 took more than one attempt"):
        bake(reading(retries=90))


def test_errors_of_our_own_requests_alone_end_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="10 of 60 own requests to / failed"):
        bake(reading(requests=0), samples=([GOOD] * 5 + [BAD]) * 10)


def test_an_answer_of_another_release_ends_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match=f"through lb-1 .status 200. came from {OLD} instead of {NEW}"):
        bake(reading(), samples=[GOOD, Sample(5, 200, OLD, proxy="lb-1")])


def test_own_requests_that_never_come_through_are_no_proof(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="no own request to / came through in the whole bake"):
        bake(reading(), samples=[Sample(5, None, None, "ConnectionError", lost=True)] * 50)


def test_a_lost_connection_says_nothing_about_the_release(bake: Bake) -> None:
    assert bake(LOST, LOST, reading())["bake_seconds"] >= 0.4


def test_a_proxy_that_stays_away_ends_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="the SSH connection was lost"):
        bake(LOST)


def test_a_reading_that_hangs_neither_delays_a_verdict_nor_lasts_forever(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="own requests to / failed"):
        bake(3.0, samples=([GOOD] * 5 + [BAD]) * 10)
    with pytest.raises(BlueGreenError, match="the proxies do not say what they count"):
        bake(3.0)


def test_a_mistake_in_reading_is_not_swallowed(bake: Bake) -> None:
    with pytest.raises(ZeroDivisionError):
        bake(ZeroDivisionError())


def test_an_error_that_time_does_not_mend_ends_it_at_once(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="another SSH host key"):
        bake(BlueGreenError("lb-1 answers with another SSH host key"), seconds=BEYOND_ANY_TEST)


def test_traffic_that_went_elsewhere_ends_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="lb-1 no longer sends traffic to green but to blue"):
        bake(reading(), reading(live=Color.BLUE))


def test_the_result_says_what_the_verdict_rests_on(bake: Bake) -> None:
    assert bake(reading(requests=1000))["rests_on"] == {
        "own_requests": 50,
        "paths": 1,
        "unproven": [],
        "client_requests": 950,
        "few_clients": False,
        "health_only": False,
    }
    few = bake(reading(requests=55))["rests_on"]
    assert (few["client_requests"], few["few_clients"]) == (5, True)
    # Own requests that were made while the counters were read are not taken for clients'.
    assert bake(reading(requests=45))["rests_on"]["client_requests"] == 0


def test_the_app_is_asked_as_its_clients_ask(bake: Bake) -> None:
    bake(reading(), traffic={"public_url": "https://www.example.com"})
    (_, live), (_, idle), _ = bake.asked  # type: ignore[attr-defined]
    assert live == {"Host": "www.example.com", "X-Preview-Key": "k" * 16}
    assert idle == {"Host": "green.example.com", "X-Preview-Key": "k" * 16}


MOVED = replace(GOOD, status=301)


def test_a_path_that_only_redirects_after_the_switch_ends_it(bake: Bake) -> None:
    with pytest.raises(BlueGreenError, match="failed, the last with status 301, allowed are 200 to 299"):
        bake(reading(), samples=[MOVED] * 50, before=[replace(GOOD, revision=OLD)] * 50)


def test_a_bake_that_saw_nothing_that_proves_anything_does_not_confirm(bake: Bake) -> None:
    before = [replace(MOVED, revision=OLD)] * 50
    with pytest.raises(
        BlueGreenError,
        match=r"bad: 50 of 50 own requests to / failed, .* status 301, .*; in the preview it answered",
    ):
        bake(reading(), samples=[MOVED] * 50, before=before)
    with pytest.raises(BlueGreenError, match="no own request of the whole bake proves anything"):
        bake(reading(), samples=[MOVED] * 50, before=before, unproven=["/"])
    # A stray good answer proves nothing.
    with pytest.raises(BlueGreenError, match="bad: 49 of 50 own requests to / failed"):
        bake(reading(), samples=[*[MOVED] * 49, GOOD], before=before)


def test_a_path_that_proves_nothing_is_left_out_of_the_verdict(bake: Bake) -> None:
    other = replace(GOOD, path="/other")
    for before in ([replace(MOVED, revision=OLD)] * 50, [replace(GOOD, revision=OLD)] * 50):
        seen = bake(reading(), samples=[*[MOVED] * 50, *[other] * 40], before=before, unproven=["/"])
        assert (seen["rests_on"]["own_requests"], seen["rests_on"]["paths"]) == (40, 1)
        assert seen["rests_on"]["unproven"] == ["/"]


def test_the_health_path_does_not_prove_what_another_path_should(bake: Bake) -> None:
    health, other = replace(GOOD, path="/health"), replace(GOOD, path="/other")
    samples, both = [*[MOVED] * 50, *[health] * 50], ["/", "/health"]
    with pytest.raises(BlueGreenError, match="no own request of the whole bake proves anything"):
        bake(reading(), samples=samples, paths=both, unproven=["/"])
    seen = bake(reading(), samples=[*samples, *[other] * 40], paths=[*both, "/other"], unproven=["/"])
    assert (seen["rests_on"]["own_requests"], seen["rests_on"]["paths"]) == (40, 1)
    assert bake(reading(), samples=samples, paths=both, unproven=["/"], goes_back=True)


def test_a_verdict_that_rests_on_the_health_path_alone_says_so(bake: Bake) -> None:
    seen = bake(reading(), samples=[replace(GOOD, path="/health")] * 50, paths=["/health"])
    assert seen["rests_on"]["health_only"]
    assert "own requests to 1 path (the health path alone) and" in str(Evidence(**seen["rests_on"]))


def test_a_rollback_needs_no_proof(bake: Bake) -> None:
    before = [replace(GOOD, revision=OLD)] * 50
    seen = bake(reading(), samples=[MOVED] * 50, before=before, unproven=["/"], goes_back=True)
    assert (seen["rests_on"]["own_requests"], seen["rests_on"]["paths"]) == (0, 0)


def test_requests_that_hang_until_the_end_are_failures(bake: Bake) -> None:
    hung = replace(GOOD, status=None, error="no answer after 5 s")
    before = [replace(GOOD, revision=OLD)] * 100
    with pytest.raises(
        BlueGreenError, match=r"bad: 4 of 14 own requests to / failed \(28.6%, the last .* after 5 s"
    ):
        bake(reading(), samples=[GOOD] * 10, last=[hung] * 4, before=before)
    with pytest.raises(BlueGreenError, match="bad: 4 of 4 own requests to / failed"):
        bake(reading(), samples=[hung] * 4, before=before)
    # The old release is as slow: that is nobody's fault.
    assert bake(reading(), samples=[GOOD] * 10, last=[hung], before=[*before[:10], hung])


def test_answers_so_slow_that_there_is_room_for_few_are_a_verdict(bake: Bake) -> None:
    slow = [replace(GOOD, milliseconds=4900, at=5.0)] * 20
    before = [replace(GOOD, revision=OLD)] * 100
    with pytest.raises(BlueGreenError, match="the median of 20 own requests to / is 4900 ms"):
        bake(reading(), samples=slow, before=before)
    # As slow as they were before.
    assert bake(reading(), samples=slow, before=[replace(slow[0], revision=OLD)] * 10)


def test_an_emergency_is_not_compared_with_the_live_release(bake: Bake) -> None:
    slow, constant = [replace(GOOD, milliseconds=40, at=5.0)] * 50, [replace(GOOD, milliseconds=1)] * 50
    with pytest.raises(BlueGreenError, match="the median of 50 own requests to / is 40 ms"):
        bake(reading(), samples=slow, before=constant)
    assert bake(reading(), samples=slow, before=constant, emergency=True)
    assert bake.asked[1][0] == []  # type: ignore[attr-defined]


def test_an_emergency_has_the_absolute_limits(bake: Bake) -> None:
    failing = [replace(BAD, revision=OLD)] * 50
    for bad, what in (
        ([GOOD] * 3 + [BAD] * 5, r"5 own requests in a row to / through lb-1 failed"),
        (([GOOD] * 5 + [BAD]) * 10, r"10 of 60 own requests to / failed"),
        ([replace(GOOD, revision=OLD)], "came from"),
    ):
        with pytest.raises(BlueGreenError, match=what):
            bake(reading(), samples=bad, before=failing, emergency=True)
    with pytest.raises(BlueGreenError, match="20 of 1000 requests through lb-1 were answered with 5xx"):
        bake(reading(failed=20), samples=[GOOD] * 50, emergency=True)


def test_a_health_path_that_hangs_after_the_switch_ends_it(bake: Bake) -> None:
    hangs = [replace(BAD, path="/health", status=None, error="no whole answer within 5 s")] * 5
    said = "5 own requests in a row to /health through lb-1 failed"
    with pytest.raises(BlueGreenError, match=said):
        bake(reading(), samples=[GOOD] * 50 + hangs, seconds=BEYOND_ANY_TEST)
    # The last ones may be on their way when the bake ends.
    with pytest.raises(BlueGreenError, match=said):
        bake(reading(), last=hangs)
    # What a rollback goes back to may be older than the path.
    bake(reading(), last=hangs, goes_back=True)
