"""What proxies say, and which color is live."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import Counters, ProxyStatus, RevertResult, SwitchResult
from tests.unit.agent_status import NO_COUNTERS, answer
from tests.unit.local_haproxy import Deployed


def status(live: str | None) -> ProxyStatus:
    return ProxyStatus.parse(answer(live=live))


def test_an_answer_becomes_types() -> None:
    parsed = ProxyStatus.parse(answer())
    assert parsed.live is Color.BLUE
    assert parsed.servers[Color.BLUE][0].up
    assert parsed.counters[Color.GREEN].requests == 7
    assert parsed.pending is not None
    assert (parsed.pending.from_color, parsed.pending.to) == (Color.BLUE, Color.GREEN)
    assert parsed.version == (2, 6)


def test_what_the_agent_really_answers_becomes_types(deployed: Deployed) -> None:
    switched = SwitchResult.parse(deployed.switch(Color.GREEN))
    assert (switched.from_color, switched.to, switched.already) == (Color.BLUE, Color.GREEN, False)
    parsed = ProxyStatus.parse(deployed.status())
    assert (parsed.live, parsed.consistent) == (Color.GREEN, True)
    reverted = RevertResult.parse(deployed.world.ok("revert", token=deployed.token))
    assert (reverted.from_color, reverted.to, reverted.reverted) == (Color.GREEN, Color.BLUE, True)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"live": "purple"}, "live"),
        ({"servers": {"blue": [{}]}}, "servers.blue.0.name"),
        ({"haproxy": None}, "haproxy"),
    ],
)
def test_an_answer_of_another_kind_is_refused_by_the_place_that_is_wrong(
    change: dict[str, Any], place: str
) -> None:
    with pytest.raises(ProxyError, match=place) as refusal:
        ProxyStatus.parse(answer(**change))
    assert refusal.value.code == "bad_answer"


def test_the_agents_own_words_are_passed_on() -> None:
    with pytest.raises(ProxyError, match="locked by") as refusal:
        ProxyStatus.parse({"ok": False, "error": "locked", "message": "locked by deploy"})
    assert refusal.value.code == "locked"


def test_counters_since_an_earlier_moment() -> None:
    earlier, later = Counters(requests=10, retries=1), Counters(requests=15, retries=1)
    assert later - earlier == Counters(requests=5)


@pytest.mark.parametrize("name", NO_COUNTERS)
def test_a_counter_that_decreased_means_a_reload_which_starts_all_of_them_again(name: str) -> None:
    earlier = Counters(**{**dict.fromkeys(NO_COUNTERS, 2), name: 10})
    later = Counters(**dict.fromkeys(NO_COUNTERS, 9))
    assert later - earlier == later


def test_each_color_has_another() -> None:
    assert (Color.BLUE.other, Color.GREEN.other) == (Color.GREEN, Color.BLUE)


def interrupted(live: str, **changes: Any) -> ProxyStatus:
    return ProxyStatus.parse(answer(live=live, **{"pending": None, "last_revert": None, **changes}))


# While this was taken back, the proxy's clock was an hour ahead.
CLOCK_WAS_AHEAD = {**answer()["last_revert"], "from": "blue", "to": "green", "at": 4600.0, "token": 7}


def test_runs_are_ordered_by_token_even_if_the_clock_was_wrong() -> None:
    later = {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 1000.0, "token": 9}
    assert interrupted("blue", last_revert=CLOCK_WAS_AHEAD, confirmed=later).unacknowledged_revert is None
    earlier = {**later, "at": 9000.0, "token": 5}
    assert (
        interrupted("green", last_revert=CLOCK_WAS_AHEAD, confirmed=earlier).unacknowledged_revert is not None
    )


@pytest.mark.parametrize(
    ("change", "deployed_to"),
    [
        ({}, True),
        ({"map_running": None}, True),
        ({"map_running": None, "map_file": None}, False),
        # A deploy that was killed when it had prepared the map, and HAProxy was never told.
        ({"map_running": None, "moved_at": None, "confirmed": None}, False),
    ],
)
def test_a_proxy_is_new_until_a_deploy_has_reached_its_haproxy(
    change: dict[str, Any], deployed_to: bool
) -> None:
    assert ProxyStatus.parse({**answer(), **change}).is_deployed_to is deployed_to


@pytest.mark.parametrize(
    ("version", "too_old"), [("2.2.9", True), ("2.4.0", False), ("3.2.0", False), ("0.0", False)]
)
def test_a_haproxy_that_cannot_replace_a_map_in_one_step_is_too_old(version: str, too_old: bool) -> None:
    parsed = ProxyStatus.parse(answer(haproxy={**answer()["haproxy"], "version": version}))
    assert parsed.too_old == (
        f"HAProxy {version} is too old, upgrade it to 2.4 or later" if too_old else None
    )
