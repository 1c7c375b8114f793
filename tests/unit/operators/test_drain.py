"""Waiting for what still runs on the idle color."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.fleet.droplets import Fleet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import drain
from bluegreen.run.plan import HeldLock, Plan
from tests.unit.runs import Run

pytestmark = pytest.mark.usefixtures("trusting")

MOVED_AT = 1000.0


class Fake:
    """Proxies on which a second passes whenever somebody sleeps for one.

    :param now: seconds since the epoch on their clocks, which is not the clock of this machine.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, now: float, moved_at: float | None = MOVED_AT
    ) -> None:
        self.now = now
        self.moved_at = moved_at
        self.slept = 0.0
        self.green: list[tuple[int, ...]] = []
        self.hook: Any = create_autospec(ProxiesHook, instance=True)
        self.hook.statuses.side_effect = self._statuses
        monkeypatch.setattr(ProxiesHook, "holding", lambda *_: self.hook)
        monkeypatch.setattr(drain, "time", SimpleNamespace(monotonic=lambda: self.slept, sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept += seconds

    def _statuses(self) -> dict[str, Any]:
        counts = self.green.pop(0) if len(self.green) > 1 else self.green[0]
        return {
            f"lb-{number}": SimpleNamespace(
                sessions={Color.BLUE: 99, Color.GREEN: count},
                moved_at=self.moved_at,
                now=self.now + self.slept,
            )
            for number, count in enumerate(counts)
        }

    def run(self, *, drained: bool = False) -> dict[str, Any]:
        fleet = Fleet(proxies=(), blue=(), green=())
        plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=fleet, drained=drained)
        held = HeldLock(proxies=(), tokens={}).model_dump(mode="json")
        task = drain.DrainOperator(
            task_id="drain", app_id="my_perl_app", lock=held, plan=plan.model_dump(mode="json")
        )
        result: dict[str, Any] = task.execute(Run().context)
        return result


def test_an_idle_color_without_sessions_costs_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT + 9)
    fake.green = [(0, 0)]
    assert fake.run() == {"color": "green", "seconds": 0.0, "waited": 0.0, "cut": 0}
    assert (fake.hook.statuses.call_count, fake.slept) == (1, 0)


def test_an_idle_color_on_which_nothing_was_in_progress_costs_no_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT + 9)
    assert fake.run(drained=True) == {"color": "green", "seconds": 0.0, "waited": 0.0, "cut": 0}
    assert not fake.hook.method_calls


def test_it_waits_until_no_proxy_has_a_session_and_counts_from_the_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT + 30)
    fake.green = [(2, 0), (1, 1), (0, 1), (0, 0)]
    assert fake.run() == {"color": "green", "seconds": 33.0, "waited": 3.0, "cut": 0}
    assert fake.hook.renew_in_time.call_count == 3


def test_it_gives_up_when_the_limit_has_passed_since_the_move(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT + 110.5)
    fake.green = [(2, 1), (1, 1)]
    assert fake.run() == {"color": "green", "seconds": 120.0, "waited": 9.5, "cut": 2}


def test_it_does_not_wait_at_all_if_that_was_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT + 3600)
    fake.green = [(1,)]
    assert fake.run() == {"color": "green", "seconds": 3600.0, "waited": 0.0, "cut": 1}
    assert fake.slept == 0


def test_the_limit_counts_from_the_first_look_if_nobody_knows_when_traffic_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Fake(monkeypatch, now=5.0, moved_at=None)
    fake.green = [(1,)]
    assert fake.run() == {"color": "green", "seconds": 120.0, "waited": 120.0, "cut": 1}


def test_a_clock_that_was_put_back_after_the_move_lengthens_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT - 3600)
    fake.green = [(1,)]
    assert fake.run() == {"color": "green", "seconds": 120.0, "waited": 120.0, "cut": 1}


def test_a_proxy_that_is_away_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT)
    fake.hook.statuses.side_effect = DropletUnreachableError("the SSH connection was lost")
    with pytest.raises(AirflowException, match="was lost") as raised:
        fake.run()
    assert not isinstance(raised.value, AirflowFailException)


def test_a_run_that_has_lost_its_lock_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, now=MOVED_AT)
    fake.green = [(1,)]
    fake.hook.renew_in_time.side_effect = ProxyError("this run no longer holds the lock", "lock_lost")
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        fake.run()
