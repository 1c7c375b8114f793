"""A switch to an irreversible release, on several proxies."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol import Verb
from bluegreen.errors import ProxyError
from bluegreen.hooks import irreversible_switch
from tests.unit.proxy_members import GONE, both, member

WHY = "0123: drops users.email"
REQUEST = {"to": "green", "revision": "a" * 40}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(irreversible_switch, "PAUSE", 0.0)
    monkeypatch.setattr(irreversible_switch, "FOLLOW_SECONDS", 0.2)


def answer(**more: Any) -> dict[str, Any]:
    return {"from": "blue", "to": "green", **more}


def failing(one: Any, times: int, error: Exception) -> None:
    """Let a proxy fail so often when it is to move; it can prepare."""
    left = [times]

    def call(verb: str, **request: Any) -> dict[str, Any]:
        one.asked.append(verb)
        if not request.get("prepare_only") and left[0]:
            left[0] -= 1
            raise error
        return answer(irreversible=request.get("irreversible"))

    one.call.side_effect = call


def test_all_prepare_and_then_all_move_for_good() -> None:
    first, second = member("lb-1", switch=answer()), member("lb-2", switch=answer())
    results = both(first, second).switch(irreversible=WHY, **REQUEST)
    assert results.keys() == {"lb-1", "lb-2"}
    for one in (first, second):
        prepared, moved = [call.kwargs for call in one.call.call_args_list]
        assert prepared["prepare_only"]
        assert "prepare_only" not in moved
        assert moved["irreversible"] == WHY


def test_a_reversible_switch_says_nothing_of_it() -> None:
    first, second = member("lb-1", switch=answer()), member("lb-2", switch=answer())
    both(first, second).switch(irreversible=None, **REQUEST)
    assert all("irreversible" not in call.kwargs for call in first.call.call_args_list)


def test_a_proxy_that_fails_is_asked_again_because_the_others_do_not_go_back() -> None:
    first, second = member("lb-1", switch=answer()), member("lb-2")
    failing(second, 2, ProxyError("lb-2 is busy", code="busy"))
    assert both(first, second).switch(irreversible=WHY, **REQUEST).keys() == {"lb-1", "lb-2"}
    assert first.asked == [Verb.SWITCH] * 2
    assert second.asked == [Verb.SWITCH] * 4


def test_if_it_does_not_follow_the_others_stay_where_they_are_and_the_line_names_both() -> None:
    first, second = member("lb-1", switch=answer()), member("lb-2")
    failing(second, 10**9, GONE)
    with pytest.raises(
        ProxyError, match=r"goes to green on lb-1 and stays there.*; lb-2 did not follow: lb is"
    ) as error:
        both(first, second).switch(irreversible=WHY, **REQUEST)
    assert error.value.transient, "a connection that is lost may come back"
    assert Verb.REVERT not in [*first.asked, *second.asked]


def test_if_none_has_moved_the_switch_has_just_failed() -> None:
    first, second = member("lb-1"), member("lb-2")
    for one in (first, second):
        failing(one, 1, ProxyError(f"{one.name}: green is unhealthy", code="unhealthy"))
    with pytest.raises(ProxyError, match=r"lb-.: green is unhealthy; lb-.: green is unhealthy"):
        both(first, second).switch(irreversible=WHY, **REQUEST)
