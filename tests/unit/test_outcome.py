"""The last line of a run."""

from __future__ import annotations

from typing import Any

from bluegreen.color import Color
from bluegreen.outcome import Facts, Outcome, message_of, outcome_of


def facts(states: dict[str, str], **changes: Any) -> Facts:
    known: dict[str, Any] = {"errors": {}, "moved_back": False, "live": Color.BLUE, "live_known": True}
    return Facts(subject="deploy of v2 (0123456789ab)", states=states, **{**known, **changes})


def test_a_confirmed_switch_is_the_only_good_end() -> None:
    end = facts({"switch_traffic": "success", "confirm": "success"}, live=Color.GREEN)
    assert outcome_of(end) is Outcome.LIVE
    assert message_of(end, "shop") == "deploy of v2 (0123456789ab): live and confirmed; live is green"


def test_the_first_deploy_says_that_there_is_nothing_to_roll_back_to() -> None:
    end = facts({"confirm": "success"}, first=True)
    assert message_of(end, "shop").endswith("it is the first release, so there is nothing to roll back to")


def test_a_failure_before_the_switch_says_cause_live_and_what_to_do() -> None:
    end = facts(
        {"deploy_0": "failed", "switch_traffic": "upstream_failed", "rollback": "success"},
        errors={"deploy_0": "shop-green-1 (198.18.0.4): the app does not load: syntax error"},
    )
    assert outcome_of(end) is Outcome.REFUSED
    assert message_of(end, "shop") == (
        "deploy of v2 (0123456789ab): refused before the switch: shop-green-1 (198.18.0.4): "
        "the app does not load: syntax error; live is blue; mend the cause and trigger a new run"
    )


def test_traffic_that_was_moved_back_is_a_rollback() -> None:
    end = facts({"switch_traffic": "success", "rollback": "success"}, moved_back=True)
    assert outcome_of(end) is Outcome.ROLLED_BACK


def test_a_switch_that_failed_and_a_rollback_that_could_not_is_not_called_untouched() -> None:
    end = facts({"switch_traffic": "failed", "rollback": "failed"}, live_known=False, live=None)
    assert outcome_of(end) is Outcome.UNCLEAR
    assert "run bluegreen_rollback__shop" in message_of(end, "shop")


def test_a_ref_that_was_refused_leaves_traffic_untouched_without_asking_anybody() -> None:
    end = facts(
        {"resolve_ref": "failed", "lock": "upstream_failed"},
        errors={"resolve_ref": "no such ref"},
        live_known=False,
    )
    assert outcome_of(end) is Outcome.REFUSED
    assert "traffic was not touched" in message_of(end, "shop")


def test_a_task_that_was_killed_is_named_although_it_said_nothing() -> None:
    assert "deploy_1 ended without a word" in message_of(facts({"deploy_1": "failed"}), "shop")


def test_a_switch_that_the_load_balancer_took_back_before_the_confirmation_is_rolled_back() -> None:
    end = facts(
        {"switch_traffic": "success", "confirm": "failed", "rollback": "skipped"},
        errors={"confirm": "lb-1: the last switch was taken back: it was not confirmed in time"},
        moved_back=True,
    )
    assert outcome_of(end) is Outcome.ROLLED_BACK
    assert "not confirmed in time; live is blue" in message_of(end, "shop")


def test_a_first_deploy_that_is_bad_says_that_there_is_nothing_to_go_back_to() -> None:
    states = {"switch_traffic": "success", "final_validation": "failed", "rollback": "success"}
    errors = {"final_validation": "the new release is bad: errors"}
    end = facts(states, errors=errors, live=Color.GREEN, first=True)
    assert message_of(end, "shop") == (
        "deploy of v2 (0123456789ab): bad, but there is nothing to go back to: "
        "the new release is bad: errors; live is green; clients get the bad release; deploy a mended one"
    )


def test_a_first_deploy_that_fails_before_the_switch_leaves_nothing_live() -> None:
    end = facts({"deploy_0": "failed", "switch_traffic": "upstream_failed"}, live=None, first=True)
    assert outcome_of(end) is Outcome.REFUSED
    assert "nothing is live" in message_of(end, "shop")


def test_traffic_that_moved_is_not_called_untouched_because_nobody_can_be_asked() -> None:
    end = facts({"switch_traffic": "success", "rollback": "failed"}, live_known=False, live=None)
    assert "it is not known who is live" in message_of(end, "shop")


def test_a_confirmed_switch_says_what_went_wrong_after_it() -> None:
    end = facts(
        {"switch_traffic": "success", "confirm": "success"},
        errors={"report": "the lock was not released: lb-1 cannot be reached"},
        live_known=False,
        live=None,
    )
    assert outcome_of(end) is Outcome.LIVE
    assert "the lock was not released" in message_of(end, "shop")
    assert "not touched" not in message_of(end, "shop")
