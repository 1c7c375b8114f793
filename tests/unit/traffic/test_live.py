"""Which color is live, as all proxies answer together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import DisagreementError, color_to_agree_on, is_decided, live_color
from tests.unit.agent_status import answer


def status(live: str | None) -> ProxyStatus:
    return ProxyStatus.parse(answer(live=live))


def interrupted(live: str, **changes: Any) -> ProxyStatus:
    return ProxyStatus.parse(answer(live=live, **{"pending": None, "last_revert": None, **changes}))


def chosen(statuses: Mapping[str, ProxyStatus], choice: Color) -> Color | None:
    return color_to_agree_on(statuses, choice, goes_back=False, i_know=False)


def before(statuses: Mapping[str, ProxyStatus]) -> Color | None:
    return color_to_agree_on(statuses, None, goes_back=True, i_know=False)


# While this was taken back, the proxy's clock was an hour ahead.
CLOCK_WAS_AHEAD = {**answer()["last_revert"], "from": "blue", "to": "green", "at": 4600.0, "token": 7}


@pytest.mark.parametrize("live", ["blue", "green", None])
def test_live_is_what_all_proxies_say(live: str | None) -> None:
    assert live_color({"lb-1": status(live), "lb-2": status(live)}) == live


def test_a_disagreement_lists_the_color_of_each_proxy() -> None:
    with pytest.raises(DisagreementError, match="lb-1: blue, lb-2: green"):
        live_color({"lb-2": status("green"), "lb-1": status("blue")})


def test_without_a_proxy_no_color_is_known() -> None:
    with pytest.raises(ProxyError, match="no proxy"):
        live_color({})


def test_a_new_proxy_does_not_count_as_disagreeing() -> None:
    new = ProxyStatus.parse(answer(live=None, map_file=None, map_running=None))
    assert live_color({"lb-1": status("blue"), "lb-2": new}) is Color.BLUE
    assert live_color({"lb-2": new}) is None


def test_a_person_may_say_who_is_live_only_where_proxies_disagree() -> None:
    split = {"lb-1": status("blue"), "lb-2": status("green")}
    assert chosen(split, Color.GREEN) is Color.GREEN
    assert chosen({"lb-1": status("blue")}, Color.BLUE) is Color.BLUE
    with pytest.raises(ProxyError, match=r"agree .*lb-1: blue.* `live` must be left empty"):
        chosen({"lb-1": status("blue")}, Color.GREEN)


def test_while_haproxy_is_stopped_the_map_file_decides_the_live_color() -> None:
    stopped = ProxyStatus.parse(answer(live=None, idle=None, map_running=None))
    assert live_color({"lb-1": stopped}) is Color.BLUE
    new = ProxyStatus.parse(answer(live=None, idle=None, map_running=None, map_file=None))
    assert live_color({"lb-1": new}) is None
    assert live_color({"lb-1": new, "lb-2": stopped}) is Color.BLUE


def test_a_proxy_that_the_first_switch_did_not_reach_follows_the_others() -> None:
    assert live_color({"lb-1": status(None), "lb-2": status("green")}) is Color.GREEN


def test_the_color_from_before_an_interrupted_switch_is_known() -> None:
    waiting = interrupted("green", pending=answer()["pending"])
    back = interrupted("blue", last_revert=answer()["last_revert"])
    assert before({"lb-1": waiting, "lb-2": interrupted("blue")}) is Color.BLUE
    assert before({"lb-1": interrupted("green"), "lb-2": back}) is Color.BLUE
    with pytest.raises(DisagreementError, match=r"none of them knows .* set `live`"):
        before({"lb-1": interrupted("green"), "lb-2": interrupted("blue")})


def test_the_color_from_before_is_the_last_runs_even_if_the_clock_was_wrong() -> None:
    pending = {**answer()["pending"], "from": "blue", "to": "green", "deadline": 1060.0, "token": 9}
    waiting = interrupted("green", pending=pending)
    clock_was_ahead = interrupted("blue", last_revert=CLOCK_WAS_AHEAD)
    assert before({"lb-1": waiting, "lb-2": clock_was_ahead}) is Color.BLUE


def test_a_revert_before_a_later_confirmation_does_not_decide_the_color() -> None:
    kept = {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 1000.0, "token": 9}
    forgotten = interrupted("blue", last_revert=CLOCK_WAS_AHEAD, confirmed=kept)
    with pytest.raises(DisagreementError, match="none of them knows"):
        before({"lb-1": forgotten, "lb-2": interrupted("green")})


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
