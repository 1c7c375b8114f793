"""The wait for idle droplets that are healthy in the eyes of every proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.run.plan import Plan
from bluegreen.sensors import health_check
from tests.unit.fleets import GREEN, LB, ONE_EACH, droplet
from tests.unit.runs import APP, LOCK, LOST, REVISION, context

pytestmark = pytest.mark.usefixtures("trusting")

GREENS = (GREEN, droplet(4, "green-2"), droplet(5, "green-3"))
PROXIES = (LB, droplet(9, "lb-2"))
PLAN = Plan(
    live=Color.BLUE,
    idle=Color.GREEN,
    fleet=ONE_EACH.model_copy(update={"green": GREENS, "proxies": PROXIES}),
)
GOOD = SimpleNamespace(error=None, status=200, revision=REVISION)


class Looks:
    """A sensor, and the proxies that it asks.

    :ivar proxies: each one's ``probe_all``, by name; all droplets are healthy unless a test says otherwise.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeout: float = 60) -> None:
        members = []
        for one in PROXIES:
            member = create_autospec(ProxyHook, instance=True)
            member.name = one.name
            member.probe_all.return_value = [GOOD] * len(GREENS)
            members.append(member)
        self.proxies = {member.name: member.probe_all for member in members}
        hook = create_autospec(ProxiesHook, instance=True, members=members)
        self.connected = MagicMock(return_value=hook)
        monkeypatch.setattr(ProxiesHook, "holding", self.connected)
        self.sensor: Any = health_check.HealthCheckSensor(
            task_id="health_check",
            app_id=APP,
            lock=LOCK,
            plan=PLAN.model_dump(mode="json"),
            revision=REVISION,
        )
        app = self.sensor.app
        self.sensor.__dict__["app"] = app.model_copy(
            update={"health": app.health.model_copy(update={"timeout": timeout})}
        )

    def look(self, times: int = 1) -> list[bool]:
        return [self.sensor.poke(context()) for _ in range(times)]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_each_proxy_is_asked_once_a_look_for_all_droplets_together(looks: Looks) -> None:
    assert looks.look(3) == [False, False, True]
    looks.connected.assert_called_once()
    for probe_all in looks.proxies.values():
        assert probe_all.call_count == 3
        assert [address for address, _ in probe_all.call_args.args[0]] == [str(one.private) for one in GREENS]


def test_one_lost_connection_does_not_make_a_droplet_unhealthy(looks: Looks) -> None:
    looks.proxies["lb-1"].side_effect = [LOST, *[[GOOD] * len(GREENS)] * 3]
    assert looks.look(4) == [False, False, False, True]


def test_a_droplet_that_fails_once_has_to_be_healthy_in_a_row_again(looks: Looks) -> None:
    bad = SimpleNamespace(error="timed out", status=None, revision=None)
    looks.proxies["lb-2"].side_effect = [
        [GOOD, GOOD, GOOD],
        [GOOD, GOOD, GOOD],
        [GOOD, bad, GOOD],
        *[[GOOD, GOOD, GOOD]] * 3,
    ]
    assert looks.look(6) == [False, False, False, False, False, True]


def test_every_droplet_that_is_not_healthy_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, timeout=0)
    looks.proxies["lb-1"].return_value = [
        SimpleNamespace(error="timed out", status=None, revision=None),
        SimpleNamespace(error="timed out", status=None, revision=None),
        SimpleNamespace(error=None, status=200, revision=None),
    ]
    expected = (
        r"green-1 \(198.18.0.3\), green-2 \(198.18.0.4\) are not healthy: lb-1 gets no answer: timed out; "
        rf"green-3 \(198.18.0.5\) is not healthy: lb-1 gets revision None instead of {REVISION}"
    )
    with pytest.raises(AirflowFailException, match=expected):
        looks.look()
