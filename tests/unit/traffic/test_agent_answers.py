"""What proxies say, and which color is live."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import Counters, ProxyStatus, RevertResult, SwitchResult
from bluegreen.traffic.live import DisagreementError, color_from_before, is_decided, live_color
from tests.unit.local_haproxy import Deployed

NO_COUNTERS = {
    "requests": 0,
    "responses_5xx": 0,
    "connection_errors": 0,
    "retries": 0,
    "redispatches": 0,
}


def answer(**changes: Any) -> dict[str, Any]:
    said = {"live": "blue", "idle": "green", "idle_share": 0}
    server = {"name": "b-1", "address": "10.0.0.1", "port": 8080, "up": True, "check": "L7OK"}
    return {
        "ok": True,
        "haproxy": {
            "version": "2.6.12",
            "running": True,
            "config_sha256": None,
            "workers": 1,
            "old_workers": 0,
        },
        "live": "blue",
        "idle": "green",
        "map_file": said,
        "map_running": said,
        "consistent": True,
        "servers": {"blue": [server], "green": []},
        "counters": {"blue": NO_COUNTERS, "green": {**NO_COUNTERS, "requests": 7}},
        "sessions": {"blue": 2, "green": 0},
        "lock": {"owner": "deploy", "run_id": "r", "ref": "v1", "since": 1.5, "token": 3},
        "pending": {
            "from": "blue",
            "to": "green",
            "revision": "a" * 40,
            "run_id": "r",
            "deadline": 9.5,
            "path": "/",
        },
        "confirmed": {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 0.5},
        "last_revert": {"from": "green", "to": "blue", "at": 1.0, "reason": "x", "run_id": "q"},
        "moved_at": 1.0,
        "now": 2.0,
        **changes,
    }


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


@pytest.mark.parametrize("live", ["blue", "green", None])
def test_live_is_what_all_proxies_say(live: str | None) -> None:
    assert live_color({"lb-1": status(live), "lb-2": status(live)}) == live


def test_a_disagreement_lists_the_color_of_each_proxy() -> None:
    with pytest.raises(DisagreementError, match="lb-1: blue, lb-2: green"):
        live_color({"lb-2": status("green"), "lb-1": status("blue")})


def test_without_a_proxy_no_color_is_known() -> None:
    with pytest.raises(ProxyError, match="no proxy"):
        live_color({})


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


def test_a_new_proxy_does_not_count_as_disagreeing() -> None:
    new = ProxyStatus.parse(answer(live=None, map_file=None, map_running=None))
    assert live_color({"lb-1": status("blue"), "lb-2": new}) is Color.BLUE
    assert live_color({"lb-2": new}) is None


def test_a_person_may_say_who_is_live_only_where_proxies_disagree() -> None:
    split = {"lb-1": status("blue"), "lb-2": status("green")}
    assert live_color(split, Color.GREEN) is Color.GREEN
    assert live_color({"lb-1": status("blue")}, Color.BLUE) is Color.BLUE
    with pytest.raises(ProxyError, match=r"agree .*lb-1: blue.* `live` must be left empty"):
        live_color({"lb-1": status("blue")}, Color.GREEN)


def test_while_haproxy_is_stopped_the_map_file_decides_the_live_color() -> None:
    stopped = ProxyStatus.parse(answer(live=None, idle=None, map_running=None))
    assert live_color({"lb-1": stopped}) is Color.BLUE
    new = ProxyStatus.parse(answer(live=None, idle=None, map_running=None, map_file=None))
    assert live_color({"lb-1": new}) is None
    assert live_color({"lb-1": new, "lb-2": stopped}) is Color.BLUE


def test_a_proxy_that_the_first_switch_did_not_reach_follows_the_others() -> None:
    assert live_color({"lb-1": status(None), "lb-2": status("green")}) is Color.GREEN


def interrupted(live: str, **changes: Any) -> ProxyStatus:
    return ProxyStatus.parse(answer(live=live, **{"pending": None, "last_revert": None, **changes}))


def test_the_color_from_before_an_interrupted_switch_is_known() -> None:
    waiting = interrupted("green", pending=answer()["pending"])
    back = interrupted("blue", last_revert=answer()["last_revert"])
    assert color_from_before({"lb-1": waiting, "lb-2": interrupted("blue")}) is Color.BLUE
    assert color_from_before({"lb-1": interrupted("green"), "lb-2": back}) is Color.BLUE
    with pytest.raises(DisagreementError, match=r"none of them knows .* set `live`"):
        color_from_before({"lb-1": interrupted("green"), "lb-2": interrupted("blue")})


# While this was taken back, the proxy's clock was an hour ahead.
CLOCK_WAS_AHEAD = {**answer()["last_revert"], "from": "blue", "to": "green", "at": 4600.0, "token": 7}


def test_runs_are_ordered_by_token_even_if_the_clock_was_wrong() -> None:
    later = {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 1000.0, "token": 9}
    assert interrupted("blue", last_revert=CLOCK_WAS_AHEAD, confirmed=later).unacknowledged_revert is None
    earlier = {**later, "at": 9000.0, "token": 5}
    assert (
        interrupted("green", last_revert=CLOCK_WAS_AHEAD, confirmed=earlier).unacknowledged_revert is not None
    )


def test_the_color_from_before_is_the_last_runs_even_if_the_clock_was_wrong() -> None:
    pending = {**answer()["pending"], "from": "blue", "to": "green", "deadline": 1060.0, "token": 9}
    waiting = interrupted("green", pending=pending)
    clock_was_ahead = interrupted("blue", last_revert=CLOCK_WAS_AHEAD)
    assert color_from_before({"lb-1": waiting, "lb-2": clock_was_ahead}) is Color.BLUE


def test_a_switch_that_was_taken_back_before_another_was_kept_does_not_say_where_traffic_was() -> None:
    kept = {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 1000.0, "token": 9}
    forgotten = interrupted("blue", last_revert=CLOCK_WAS_AHEAD, confirmed=kept)
    with pytest.raises(DisagreementError, match="none of them knows"):
        color_from_before({"lb-1": forgotten, "lb-2": interrupted("green")})


@pytest.mark.parametrize(
    ("first", "second", "decided"),
    [
        ({"live": "green", "prepared": True}, {"live": "green", "prepared": True}, True),
        ({"live": "green", "prepared": True}, {"live": "green"}, False),
        ({"live": "green", "prepared": True}, {"live": "green", "pending": None}, True),
        ({"live": "green", "prepared": True}, {"live": "blue", "pending": None}, False),
        ({"live": "blue", "pending": None}, {"live": "blue", "pending": None}, False),
    ],
    ids=["all agreed", "one had not", "one has confirmed", "one went back", "nothing waits"],
)
def test_a_switch_whose_run_died_while_confirming_is_kept_only_if_all_had_agreed(
    first: dict[str, Any], second: dict[str, Any], decided: bool
) -> None:
    def one(live: str, prepared: bool = False, **changes: Any) -> ProxyStatus:
        pending = {**answer()["pending"], "prepared": prepared}
        return interrupted(live, **{"pending": pending, **changes})

    assert is_decided({"lb-1": one(**first), "lb-2": one(**second)}) is decided


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
