"""All proxies as one, when one of them does not play along."""

from __future__ import annotations

import time
from threading import Event
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.traffic.agent_answers import InstalledAgent
from tests.unit.proxy_members import GONE, both, member

REQUEST: dict[str, Any] = {"to": "green", "revision": "a" * 40}


def test_a_proxy_that_cannot_be_reached_does_not_keep_the_others_from_going_back() -> None:
    reverted = {"from": "green", "to": "blue", "reverted": True}
    first, second = member("lb-1", revert=GONE), member("lb-2", revert=reverted)
    with pytest.raises(DropletUnreachableError):
        both(first, second).revert()
    assert second.asked == ["revert", "revert"]


def test_if_one_cannot_go_back_all_stay_where_they_are() -> None:
    sick = ProxyError("lb-1: blue has no healthy server", code="unhealthy")
    first, second = member("lb-1", revert=sick), member("lb-2", revert={})
    with pytest.raises(ProxyError, match="blue has no healthy server"):
        both(first, second).revert()
    assert [each.kwargs.get("prepare_only") for each in second.call.mock_calls] == [True]


def test_a_configuration_that_one_refuses_is_installed_nowhere() -> None:
    bad = ProxyError("lb-2: HAProxy refuses the configuration", code="invalid_config")
    first, second = member("lb-1", sync={"changed": True}), member("lb-2", sync=bad)
    with pytest.raises(ProxyError, match="HAProxy refuses"):
        both(first, second).sync("global", live=Color.BLUE, idle=Color.GREEN)
    assert [each.kwargs.get("prepare_only") for each in first.call.mock_calls] == [True]


def test_a_proxy_that_cannot_be_reached_does_not_keep_the_others_locked() -> None:
    first, second = member("lb-1", unlock=GONE), member("lb-2")
    with pytest.raises(DropletUnreachableError):
        both(first, second).unlock()
    assert second.asked == ["unlock"]


def test_why_a_switch_failed_is_not_hidden_by_what_went_wrong_afterwards() -> None:
    sick = ProxyError("green is sick", code="unhealthy")

    def fail_to_commit(_verb: str, **request: Any) -> dict[str, Any]:
        if request.get("prepare_only"):
            return {"from": "blue", "to": "green"}
        raise sick

    first = member("lb-1", switch={"from": "blue", "to": "green"}, revert=GONE)
    second = member("lb-2")
    second.call.side_effect = fail_to_commit
    with pytest.raises(BlueGreenError, match="green is sick"):
        both(first, second).switch(**REQUEST)
    assert first.asked == ["switch", "switch", "revert"]


def locks(one: Any, *tokens: int) -> None:
    """Let a proxy give these tokens, one after the other."""
    given = iter(tokens)

    def call(verb: str, **request: Any) -> dict[str, Any]:
        one.asked.append((verb, request["at_least"]))
        return {"token": next(given)}

    one.call.side_effect = call


def test_a_run_has_the_same_token_everywhere_greater_than_any_before() -> None:
    first, second = member("lb-1"), member("lb-2")
    first.status.return_value.last_token, second.status.return_value.last_token = 4, 9
    locks(first, 10)
    locks(second, 10)
    assert both(first, second).lock("bob", "dag/run", "v2", lambda _run: False) == {"lb-1": 10, "lb-2": 10}
    assert first.asked == second.asked == [("lock", 10)]


def test_if_another_run_came_in_between_the_token_is_the_greater_one_everywhere() -> None:
    first, second = member("lb-1"), member("lb-2")
    first.status.return_value.last_token = second.status.return_value.last_token = 4
    locks(first, 5, 7)
    locks(second, 7)
    assert both(first, second).lock("bob", "dag/run", "v2", lambda _run: False) == {"lb-1": 7, "lb-2": 7}
    assert first.asked == [("lock", 5), ("lock", 7)]


def test_a_proxy_that_was_added_learns_the_tokens_from_the_others() -> None:
    first, new = member("lb-1"), member("lb-2")
    first.status.return_value.last_token = 8
    locks(first, 9)
    locks(new, 9)
    tokens = both(first, new).lock("bob", "dag/run", "v2", lambda _run: False, last_token=lambda: 1000)
    assert tokens == {"lb-1": 9, "lb-2": 9}


def test_where_no_proxy_knows_a_token_the_droplets_are_asked() -> None:
    first, second = member("lb-1"), member("lb-2")
    locks(first, 42)
    locks(second, 42)
    both(first, second).lock("bob", "dag/run", "v2", lambda _run: False, last_token=lambda: 41)
    assert first.asked == second.asked == [("lock", 42)]


def test_a_haproxy_that_is_too_old_is_refused_by_its_version_before_anything_is_touched() -> None:
    first, second = member("lb-1"), member("lb-2")
    second.status.return_value.too_old = "HAProxy 2.2.9 is too old"
    with pytest.raises(ProxyError, match=r"lb-2: HAProxy 2\.2\.9 is too old; nothing was changed"):
        both(first, second).lock("bob", "dag/run", "v2", lambda _run: False)
    assert first.asked == second.asked == []
    assert not first.install_agent.called


@pytest.mark.parametrize("agent", [None, {"difference": ()}, {"difference": ("-old",)}])
def test_the_agent_is_installed_where_it_is_missing_or_another(agent: dict[str, Any] | None) -> None:
    first, second = member("lb-1"), member("lb-2")
    first.status.return_value.agent = InstalledAgent(path="/agent.pyz", difference=None)
    second.status.return_value.agent = agent and InstalledAgent(path="/agent.pyz", **agent)
    for one in (first, second):
        locks(one, 10)
    both(first, second).lock("bob", "dag/run", "v2", lambda _run: False, last_token=lambda: 9)
    assert not first.install_agent.called
    assert second.install_agent.called


def test_who_holds_the_lock_is_not_hidden_by_what_went_wrong_afterwards() -> None:
    held = ProxyError("locked by alice", code="locked")
    first, second = member("lb-1", lock={"token": 1}, unlock=GONE), member("lb-2", lock=held)
    with pytest.raises(ProxyError, match="locked by alice"):
        both(first, second).lock("bob", "dag/run", "v2", lambda _run: False)
    assert first.asked == ["lock", "unlock"]


def test_all_proxies_are_called_at_once_and_every_error_is_reported() -> None:
    first = member("lb-1", confirm=ProxyError("lb-1: taken back", code="reverted"))
    second = member("lb-2", confirm=GONE)
    with pytest.raises(ProxyError, match="lb-1: taken back; lb is gone") as raised:
        both(first, second).confirm("a" * 40)
    assert (raised.value.code, raised.value.transient) == ("reverted", False)


def test_no_proxy_confirms_before_all_have_prepared() -> None:
    first, second = member("lb-1"), member("lb-2", confirm=GONE)
    with pytest.raises(DropletUnreachableError):
        both(first, second).confirm("a" * 40)
    assert first.asked == ["confirm"]
    assert [each.kwargs.get("prepare_only") for each in first.call.mock_calls] == [True]


def test_an_unreachable_proxy_does_not_undo_a_prepared_confirmation() -> None:
    first, second = member("lb-1"), member("lb-2")

    def lost(_verb: str, **request: Any) -> dict[str, Any]:
        if not request.get("prepare_only"):
            raise GONE
        return {}

    second.call.side_effect = lost
    both(first, second).confirm("a" * 40)
    assert first.asked == ["confirm", "confirm"]


def test_a_proxy_that_refuses_to_prepare_keeps_traffic_where_it_is() -> None:
    sick = ProxyError("green is sick", code="unhealthy")
    first, second = member("lb-1", switch={}), member("lb-2", switch=sick)
    with pytest.raises(ProxyError, match="green is sick"):
        both(first, second).switch(**REQUEST)
    assert first.asked == second.asked == ["switch"]


def test_a_late_proxy_reverts_when_it_can_and_the_others_at_once() -> None:
    first_went_back = Event()
    first, second = member("lb-1"), member("lb-2")
    first.status.return_value.live = "blue"
    second.status.side_effect = GONE
    late_reverts: list[str] = []

    def prompt(verb: str, **_request: Any) -> dict[str, Any]:
        if verb == "revert":
            first_went_back.set()
        return {"from": "blue", "to": "green"}

    def late(verb: str, **request: Any) -> dict[str, Any]:
        if verb == "revert":
            late_reverts.append(verb)
        elif not request.get("prepare_only"):
            assert first_went_back.wait(10)
        return {"from": "blue", "to": "green"}

    first.call.side_effect, second.call.side_effect = prompt, late
    with pytest.raises(ProxyError, match="lb-2: moved too late") as raised:
        both(first, second).switch(**REQUEST)
    assert "live now: lb-1: blue, lb-2: unknown" in str(raised.value)
    assert late_reverts == ["revert"]


def test_a_lock_is_renewed_when_a_quarter_of_its_lease_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = member("lb-1"), member("lb-2", renew=GONE)
    hook = both(first, second)
    hook.renew_in_time()
    assert first.asked == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 40)
    hook.renew_in_time()
    assert first.asked == ["renew"]
    second.call.side_effect = ProxyError("held by bob", code="lock_lost")
    with pytest.raises(ProxyError, match="held by bob"):
        hook.renew_in_time()


def test_a_record_is_answered_with_the_digest_that_each_ledger_ends_with() -> None:
    first, second = member("lb-1", record={"head": "a" * 64}), member("lb-2", record={"head": "b" * 64})
    assert both(first, second).record({"run_id": "run-1"}) == {"lb-1": "a" * 64, "lb-2": "b" * 64}


@pytest.mark.parametrize("answer", [{}, {"head": None}, {"head": 1}, {"head": "x" * 64}, {"head": "a" * 65}])
def test_a_proxy_that_answers_with_no_digest_does_not_end_the_report(answer: dict[str, Any]) -> None:
    first, second = member("lb-1", record=answer), member("lb-2", record={"head": "b" * 64})
    assert both(first, second).record({"run_id": "run-1"}) == {"lb-2": "b" * 64}
