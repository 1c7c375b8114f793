"""The bake: what ends it, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from bluegreen.analysis import Sample
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet, Fleet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators import validate
from bluegreen.operators.validate import FinalValidationOperator
from bluegreen.plan import Plan
from bluegreen.sampler import Sampler
from bluegreen.traffic import Counters

NEW = "a" * 40
GOOD, BAD = Sample(5, 200, NEW), Sample(5, 500, NEW)
LOST = DropletUnreachableError("lb-1: the SSH connection was lost")

Reading = BlueGreenError | dict[str, Any]


def reading(live: Color = Color.GREEN, requests: int = 1000, failed: int = 0) -> dict[str, Any]:
    counters = {Color.GREEN: Counters(requests=requests, responses_5xx=failed)}
    return {"lb-1": SimpleNamespace(live=live, counters=counters)}


@pytest.fixture
def bake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def bake(*readings: Reading, samples: list[Sample] | None = None) -> dict[str, Any]:
        """Watch a color with these readings of the load balancer, the last one over and over."""
        left = list(readings)
        hook = create_autospec(LoadBalancersHook, instance=True)

        def statuses() -> dict[str, Any]:
            now = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(now, BlueGreenError):
                raise now
            return now

        hook.statuses.side_effect = statuses
        monkeypatch.setattr(LoadBalancersHook, "holding", lambda *_: hook)
        monkeypatch.setattr(validate, "UNREADABLE_SECONDS", 0.2)
        monkeypatch.setattr(Sampler, "rounds", lambda *_: samples or [GOOD] * 50)
        balancer = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("198.18.0.1"), private=None)
        plan = Plan(live=None, idle=Color.GREEN, fleet=Fleet(load_balancers=(balancer,), blue=(), green=()))
        operator = FinalValidationOperator(
            app_id="my_perl_app",
            task_id="final_validation",
            lock={"load_balancers": [], "tokens": {}},
            plan=plan.model_dump(mode="json"),
            revision=NEW,
            switched={"lb-1": {"ok": True, "from": None, "to": "green", "counters": {"green": {}}}},
            baseline={"samples": [], "counters": {}},
        )
        settings = operator.app.model_copy(
            update={"validation": operator.app.validation.model_copy(update={"bake": 0.4})}
        )
        operator.__dict__["app"] = settings
        return operator.act({})

    return bake


def test_a_good_color_is_watched_to_the_end(bake: Callable[..., dict[str, Any]]) -> None:
    seen = bake(reading())
    assert seen["bake_seconds"] >= 0.4
    assert seen["clients"] == {"requests": 1000, "failed": 0}


def test_errors_of_clients_alone_end_it_at_the_first_look(bake: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(
        BlueGreenError, match=r"the new release is bad: 50 of 1000 requests of clients failed"
    ):
        bake(reading(failed=50))


def test_errors_of_our_own_requests_alone_end_it(bake: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(BlueGreenError, match="of our own requests failed"):
        bake(reading(requests=0), samples=[GOOD] * 40 + [BAD] * 10)


def test_a_lost_connection_says_nothing_about_the_release(bake: Callable[..., dict[str, Any]]) -> None:
    assert bake(LOST, LOST, reading())["clients"]["requests"] == 1000


def test_a_load_balancer_that_stays_away_ends_it(bake: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(BlueGreenError, match="the SSH connection was lost"):
        bake(LOST)


def test_traffic_that_went_elsewhere_ends_it(bake: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(BlueGreenError, match="lb-1 no longer sends traffic to green but to blue"):
        bake(reading(), reading(live=Color.BLUE))
