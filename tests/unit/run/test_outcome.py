"""The last line of a run."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.run.outcome import Outcome, RunFacts, message_of, outcome_of
from bluegreen.traffic.drain import Drain


def facts(states: dict[str, str], **changes: Any) -> RunFacts:
    """What is known if the proxies and the tasks' states say the same."""
    known: dict[str, Any] = {"errors": {}, "moved_back": False, "live": Color.BLUE, "live_known": True}
    known |= {"asked": changes.get("live_known", True), "kept": states.get("confirm") == "success"}
    return RunFacts(subject="deploy of v2 (0123456789ab)", states=states, **{**known, **changes})


def test_a_confirmed_switch_is_the_only_good_end() -> None:
    end = facts({"switch_traffic": "success", "confirm": "success"}, live=Color.GREEN)
    assert outcome_of(end) is Outcome.LIVE
    assert message_of(end, "shop") == "deploy of v2 (0123456789ab): live and confirmed; live is green"


def test_only_proxies_that_cannot_be_asked_are_believed_on_the_word_of_a_task_s_state() -> None:
    states = {"switch_traffic": "success", "confirm": "success"}
    assert outcome_of(facts(states, kept=False, live=None, live_known=False)) is Outcome.LIVE
    assert outcome_of(facts(states, kept=False, moved_back=True)) is Outcome.ROLLED_BACK
    assert outcome_of(facts(states, kept=False, unmoved=True)) is Outcome.REFUSED
    # They disagree.
    assert outcome_of(facts(states, kept=False, live=None, live_known=False, asked=True)) is Outcome.UNCLEAR


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
        "the app does not load: syntax error; live is blue; fix the cause and trigger a new run"
    )


def test_traffic_that_was_moved_back_is_a_rollback() -> None:
    end = facts({"switch_traffic": "success", "rollback": "success"}, moved_back=True)
    assert outcome_of(end) is Outcome.ROLLED_BACK


def test_an_irreversible_release_that_was_not_found_good_is_frozen() -> None:
    end = facts(
        {"switch_traffic": "success", "final_validation": "failed", "freeze": "success"},
        errors={"final_validation": "the new release is bad: 5 of 9 requests failed"},
        **{"kept": True, "irreversible": "0123: drops it", "judged": False, "live": Color.GREEN},
    )
    assert outcome_of(end) is Outcome.FROZEN
    assert not outcome_of(end).is_good
    assert message_of(end, "shop") == (
        "deploy of v2 (0123456789ab): frozen: the new release is bad: 5 of 9 requests failed; live is green; "
        "traffic stays there, for the release is irreversible; deploy a fixed one, or go back nevertheless: "
        "bluegreen_rollback__shop with `i_know`"
    )


def test_if_proxies_did_not_follow_an_irreversible_switch_the_cause_says_what_to_do() -> None:
    states = {"switch_traffic": "failed", "freeze": "failed"}
    end = facts(
        states,
        errors={"freeze": "lb-1: green, lb-2: blue; set `live` to green"},
        **{"live": None, "live_known": False, "asked": True, "irreversible": "0123: drops it"},
    )
    assert outcome_of(end) is Outcome.UNCLEAR
    assert message_of(end, "shop").endswith("unclear: lb-1: green, lb-2: blue; set `live` to green")


def test_if_all_proxies_went_to_an_irreversible_release_though_one_has_not_kept_it_it_stays() -> None:
    states = {"switch_traffic": "failed", "freeze": "success"}
    end = facts(states, live=Color.GREEN, asked=True, irreversible="0123: drops it")
    assert outcome_of(end) is Outcome.UNCLEAR
    assert "; live is green; traffic stays there" in message_of(end, "shop")
    assert message_of(end, "shop").endswith("bluegreen_rollback__shop with `i_know`")


def test_a_switch_that_failed_and_a_rollback_that_could_not_is_not_called_untouched() -> None:
    end = facts({"switch_traffic": "failed", "rollback": "failed"}, live_known=False, live=None)
    assert outcome_of(end) is Outcome.UNCLEAR
    assert "run bluegreen_rollback__shop" in message_of(end, "shop")


def test_traffic_that_is_where_it_was_is_not_unclear_though_the_rollback_died() -> None:
    states = {"switch_traffic": "failed", "rollback": "failed"}
    assert outcome_of(facts(states)) is Outcome.UNCLEAR
    assert outcome_of(facts(states, unmoved=True)) is Outcome.REFUSED


def test_what_several_tasks_have_met_is_said_once() -> None:
    both = facts({}, errors={"provision_check": "lb-1 is away", "rollback": "lb-1 is away", "x": "no"})
    assert "refused before the switch: lb-1 is away; no; live is blue" in message_of(both, "shop")


def test_a_ref_that_was_refused_leaves_traffic_untouched_without_asking_anybody() -> None:
    end = facts(
        {"resolve_ref": "failed", "lock": "upstream_failed"},
        errors={"resolve_ref": "no such ref"},
        live_known=False,
    )
    assert outcome_of(end) is Outcome.REFUSED
    assert "traffic was not touched" in message_of(end, "shop")


def test_a_task_that_was_killed_is_named_although_it_said_nothing() -> None:
    assert "deploy_1 ended without a report" in message_of(facts({"deploy_1": "failed"}), "shop")


def test_a_switch_that_the_proxy_took_back_before_the_confirmation_is_rolled_back() -> None:
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
        "the new release is bad: errors; live is green; clients get the bad release; deploy a fixed one"
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


@pytest.mark.parametrize(
    ("drain", "states", "said"),
    [
        (Drain(color=Color.GREEN), {}, ""),
        (Drain(color=Color.GREEN, seconds=42.3, waited=12), {}, "; drained green in 42 s, nothing cut"),
        (
            Drain(color=Color.GREEN, seconds=120, waited=9, cut=1),
            {},
            "; gave up on 1 request on green after 120 s",
        ),
        (
            Drain(color=Color.GREEN, seconds=120, waited=9, cut=2),
            {"deploy_0": "success"},
            "; gave up on 2 requests on green after 120 s (cut if not done within server.stop_timeout)",
        ),
    ],
)
def test_a_deploy_says_how_long_the_drain_took_and_what_was_cut(
    drain: Drain, states: dict[str, str], said: str
) -> None:
    end = facts({"confirm": "success", **states}, drain=drain, live=Color.GREEN)
    assert message_of(end, "shop").endswith("live is green" + said)


@pytest.mark.parametrize(("number", "said"), [(1, "1 request that began"), (3, "3 requests that began")])
def test_requests_that_outlive_a_switch_are_told_of(number: int, said: str) -> None:
    run = "runs" if number == 1 else "run"
    end = facts({"confirm": "success"}, live=Color.GREEN, still_running=number)
    assert message_of(end, "shop").endswith(f"live is green; {said} before the switch still {run} on blue")
    back = facts({"switch_traffic": "success"}, moved_back=True, still_running=number)
    assert f"{said} before traffic moved back still {run} on green;" in message_of(back, "shop")


def test_requests_on_the_idle_color_are_nobody_s_concern_if_traffic_never_moved() -> None:
    end = facts({"deploy_0": "failed", "switch_traffic": "upstream_failed"}, still_running=3)
    assert "3 requests" not in message_of(end, "shop")
