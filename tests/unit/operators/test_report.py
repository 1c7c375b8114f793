"""The last word of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
)
from structlog.testing import capture_logs

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, NothingToDoError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import report
from bluegreen.operators.support.failures import failures_reported
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.live import DisagreementError, live_color
from tests.unit.fleets import LB
from tests.unit.runs import APP, GONE, LOCK, REVISION, TOKEN, context, plan, report_of
from tests.unit.statuses import confirmed, reverted, status_at_end

pytestmark = pytest.mark.usefixtures("trusting")


SWITCHED = {"switch_traffic": "success", "final_validation": "success", "rollback": "skipped"}


def test_the_lock_is_released_though_the_proxies_disagree(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE), "lb-2": status_at_end(Color.GREEN)}
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert "disagree about the live color" in message
    proxies.unlock.assert_called_once()


def test_a_proxy_that_did_not_follow_an_irreversible_switch_is_reported_once_with_what_to_do(
    proxies: Any,
) -> None:
    kept = confirmed()
    vars(kept).update({"irreversible": "0123: drops it", "judged": False})
    proxies.statuses.return_value = {
        "lb-1": status_at_end(Color.GREEN, confirmed=kept),
        "lb-2": status_at_end(Color.BLUE),
    }
    with pytest.raises(DisagreementError) as split:
        live_color(proxies.statuses.return_value)
    states = {**SWITCHED, "switch_traffic": "failed", "freeze": "failed"}
    errors = {"switch_traffic__error": "lb-2 did not follow: gone", "freeze__error": str(split.value)}
    assert report_of(context(states, lock=LOCK, **errors)) == (
        f"deploy of v2: unclear: {split.value}; lb-2 did not follow: gone; there is no way back from it: "
        "0123: drops it"
    )
    assert "(lb-1: green, lb-2: blue)" in str(split.value)
    assert proxies.record.call_args.args[0]["irreversible"] == "0123: drops it"


def test_a_proxy_that_is_away_at_the_end_is_not_called_untouched(proxies: Any) -> None:
    proxies.statuses.side_effect = GONE
    proxies.unlock.side_effect = GONE
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert "lb-1 cannot be reached; it is not known who is live" in message


@pytest.mark.parametrize("kind", ["deploy", "before the switch", "rollback"])
def test_an_irreversible_switch_is_recorded_though_a_proxy_cannot_be_asked_any_more(
    kind: str, proxies: Any
) -> None:
    """The other one may have kept it, and the ledger is what later rollbacks go by."""
    proxies.statuses.side_effect = GONE
    states = {**SWITCHED, "switch_traffic": "failed", "freeze": "failed"}
    if kind == "before the switch":
        states["switch_traffic"] = "upstream_failed"
    if kind == "rollback":
        states["previous_release"] = "success"
    left = {**plan(Color.BLUE), "irreversible": "0123: drops it"}
    message = report_of(
        context({"provision_check": "success", **states}, lock=LOCK, provision_check__plan=left)
    )
    record = proxies.record.call_args.args[0]
    assert record.get("irreversible") == ("0123: drops it" if kind == "deploy" else None)
    if kind == "deploy":
        assert message.startswith("deploy of v2: unclear: lb-1 cannot be reached")
        assert "it is not known who is live; where traffic has moved it stays" in message
        assert "run bluegreen_rollback__my_perl_app, which reports the color of each" in message
        assert "by itself" not in message


def test_a_switch_that_a_timer_took_back_is_reported_as_rolled_back(proxies: Any) -> None:
    taken_back = reverted("deploy/run", at=200.0)
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE, last_revert=taken_back)}
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert message.startswith("deploy of v2: rolled back:")


def test_a_bad_irreversible_release_is_reported_and_recorded_as_frozen(proxies: Any) -> None:
    kept = confirmed()
    vars(kept).update({"irreversible": "0123: drops it", "judged": False})
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, confirmed=kept)}
    states = {**SWITCHED, "final_validation": "failed", "freeze": "success"}
    run = context(states, lock=LOCK, final_validation__error="the new release is bad: 500")
    message = report_of(run)
    assert message.startswith("deploy of v2: frozen: the new release is bad: 500; live is green; ")
    assert "began before the switch still run on blue; traffic stays there" in message
    assert message.endswith("; there is no way back from it: 0123: drops it")
    record = proxies.record.call_args.args[0]
    assert (record["outcome"], record["irreversible"]) == ("frozen", "0123: drops it")


def test_a_task_that_was_marked_as_done_makes_no_frozen_release_a_good_one(proxies: Any) -> None:
    kept = confirmed()
    vars(kept).update({"irreversible": "0123: drops it", "judged": False})
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, confirmed=kept)}
    message = report_of(context({**SWITCHED, "confirm": "success"}, lock=LOCK))
    assert "frozen: confirm counts as successful, but the switch was not confirmed" in message


def test_traffic_that_went_and_came_back_without_a_note_of_it_is_reported_as_rolled_back(
    proxies: Any,
) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    states = {**SWITCHED, "final_validation": "failed", "rollback": "failed"}
    switched = {"lb-1": {"from": "blue", "to": "green", "milliseconds": 4.0, "at": 150.0}}
    run = context(states, lock=LOCK, provision_check__plan=plan(Color.BLUE), switch_traffic=switched)
    assert report_of(run).startswith("deploy of v2: rolled back:")
    # Somebody has marked the task as successful before it did anything.
    run = context(states, lock=LOCK, provision_check__plan=plan(Color.BLUE))
    assert report_of(run).startswith("deploy of v2: refused before the switch:")


def test_what_a_run_took_back_or_kept_before_it_was_cleared_is_not_its_doing_now(proxies: Any) -> None:
    earlier, own = reverted("deploy/run", at=50.0), confirmed(at=50.0, color=Color.BLUE)
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE, last_revert=earlier, confirmed=own)}
    states = {"deploy_0": "failed", "switch_traffic": "upstream_failed", "rollback": "success"}
    assert report_of(context(states, lock=LOCK)).startswith("deploy of v2: refused before the switch")


def test_a_switch_that_nobody_will_confirm_is_taken_back_at_once(proxies: Any) -> None:
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=False)
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, pending=waiting)}
    report_of(context({"switch_traffic": "success", "final_validation": "failed"}, lock=LOCK))
    proxies.revert.assert_called_once()


def test_a_switch_that_was_confirmed_before_its_task_died_is_kept_everywhere(proxies: Any) -> None:
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=True, revision=REVISION)
    done = confirmed()
    proxies.statuses.side_effect = [
        {
            "lb-1": status_at_end(Color.GREEN, confirmed=done),
            "lb-2": status_at_end(Color.GREEN, pending=waiting),
        },
        {name: status_at_end(Color.GREEN, confirmed=done) for name in ("lb-1", "lb-2")},
    ]
    run = context({**SWITCHED, "confirm": "failed"}, lock=LOCK)
    report.ReportOperator(task_id="report", app_id=APP, subject="deploy of v2").execute(run)
    assert run["ti"].said["report"]["outcome"] == "live and confirmed"
    proxies.confirm.assert_called_once_with(REVISION)
    proxies.revert.assert_not_called()


@pytest.mark.parametrize(("prepared", "kept"), [(True, True), (False, False)])
def test_a_confirmation_that_was_marked_as_done_is_made_or_else_the_switch_is_taken_back(
    proxies: Any, prepared: bool, kept: bool
) -> None:
    """Otherwise the proxy's timer takes it back after a run that ended well."""
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=prepared, revision=REVISION)
    after = (
        status_at_end(Color.GREEN, confirmed=confirmed())
        if kept
        else status_at_end(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))
    )
    proxies.statuses.side_effect = [
        {"lb-1": status_at_end(Color.GREEN, pending=waiting)},
        {"lb-1": after},
    ]
    run = context({**SWITCHED, "confirm": "success"}, lock=LOCK)
    message = report_of(run, good=kept)
    assert proxies.confirm.called is kept
    assert proxies.revert.called is not kept
    assert message.startswith(
        "deploy of v2: live and confirmed; live is green"
        if kept
        else "deploy of v2: rolled back: confirm counts as successful, but the switch was not confirmed; "
        "live is blue"
    )


def test_a_switch_that_cannot_be_taken_back_is_told_with_who_is_live(proxies: Any) -> None:
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=False)
    refused = reverted("deploy/run", at=200.0, refused=True)
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, pending=waiting, last_revert=refused)}
    proxies.revert.side_effect = BlueGreenError("blue has no healthy server to go back to")
    message = report_of(context({**SWITCHED, "final_validation": "failed"}, lock=LOCK))
    assert "unclear: blue has no healthy server to go back to; live is green;" in message


def test_a_report_that_is_tried_again_after_it_released_the_lock_tells_the_same(proxies: Any) -> None:
    for other in (None, SimpleNamespace(since=300.0, run_id="deploy/next", token=TOKEN + 1)):
        kept = status_at_end(Color.GREEN, confirmed=confirmed(), lock=other)
        proxies.statuses.return_value = {"lb-1": kept}
        states = {**SWITCHED, "confirm": "success"}
        assert "live and confirmed" in report_of(context(states, lock=LOCK), good=True)
        back = status_at_end(Color.BLUE, last_revert=reverted("deploy/run", at=200.0), lock=other)
        proxies.statuses.return_value = {"lb-1": back}
        assert "rolled back" in report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))


@pytest.mark.parametrize(
    "states",
    [
        {"resolve_ref": "failed", "lock": "upstream_failed"},
        {"lock": "success", "deploy_0": "failed", "switch_traffic": "upstream_failed"},
    ],
)
def test_what_was_confirmed_before_a_run_was_cleared_does_not_make_it_a_good_one(
    proxies: Any, states: dict[str, str]
) -> None:
    kept = status_at_end(Color.GREEN, confirmed=confirmed(), lock=None)
    proxies.statuses.return_value = {"lb-1": kept}
    assert "refused before the switch" in report_of(context(states, lock=LOCK))


def test_a_deploy_that_is_cleared_after_its_confirmation_is_live_all_the_same(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, confirmed=confirmed())}
    states = {"lock": "success", "deploy_0": "failed", "switch_traffic": "upstream_failed"}
    assert "live and confirmed" in report_of(context(states, lock=LOCK), good=True)


def test_a_proxy_that_was_there_already_is_no_reason_to_doubt_a_switch(proxies: Any) -> None:
    earlier = confirmed(at=50.0)
    earlier.run_id = "deploy/earlier"
    proxies.statuses.return_value = {
        "lb-1": status_at_end(Color.GREEN, confirmed=confirmed()),
        "lb-2": status_at_end(Color.GREEN, confirmed=earlier),
    }
    run = context({**SWITCHED, "confirm": "success"}, lock=LOCK)
    assert "live and confirmed" in report_of(run, good=True)


@pytest.mark.parametrize(
    ("ended", "state", "said"),
    [
        ("live", "success", "blue stops at 12:00 (server.stop_idle_after)"),
        # An earlier switch may have a stop of its own.
        ("rolled back", "success", "green stops by 12:00 (server.stop_idle_after)"),
        (
            "live",
            "failed",
            "warning: the idle color is not going to be stopped, see the log of stop_idle_later",
        ),
    ],
)
def test_a_report_says_when_the_idle_color_stops_or_that_it_does_not(
    proxies: Any, ended: str, state: str, said: str
) -> None:
    states = {**SWITCHED, "confirm": "success", "stop_idle_later": state}
    found = status_at_end(Color.GREEN, confirmed=confirmed())
    if ended != "live":
        states |= {"confirm": "skipped", "rollback": "success"}
        found = status_at_end(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))
    proxies.statuses.return_value = {"lb-1": found}
    message = report_of(context(states, lock=LOCK, stop_idle_later__stops_at="12:00"), good=ended == "live")
    assert said in message
    assert ("12:00" in message) is (state == "success")


def test_a_report_asks_airflow_for_the_states_once_and_for_no_xcom_twice(proxies: Any) -> None:
    """Each question is a round trip to the API server."""
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, confirmed=confirmed())}
    run = context({**SWITCHED, "confirm": "success"}, lock=LOCK, provision_check__plan=plan(Color.BLUE))
    states = run["ti"].get_task_states = MagicMock(side_effect=run["ti"].get_task_states)
    pull = run["ti"].xcom_pull = MagicMock(side_effect=run["ti"].xcom_pull)
    assert "live and confirmed" in report_of(run, good=True)
    states.assert_called_once()
    pulled = [str(call) for call in pull.call_args_list]
    assert len(pulled) == len(set(pulled))


def test_a_deploy_that_was_given_a_revision_by_hand_was_refused_by_policy(proxies: Any) -> None:
    """Of a mapped task, each instance has what it left."""
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    states = {"lock": "success", "deploy_0": "success", "deploy_1": "failed"}
    run = context(states, lock=LOCK, deploy__error="it may not be used", deploy__refused_by_policy=True)
    run["dag"].task_ids = ["lock", "deploy"]
    assert report_of(run).startswith("deploy of v2: refused by policy: it may not be used; live is blue")


def test_a_daily_run_that_had_nothing_to_do_says_so_and_succeeds(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    found = {"outcome": "already live", "message": "every proxy serves its certificates"}
    run = context(
        {"lock": "success", "renew_certificates": "skipped"},
        lock=LOCK,
        renew_certificates__nothing_to_do=found,
    )
    message = report_of(
        run,
        good=True,
        subject="certificates",
        needs_confirmation=False,
        may_be_skipped=["renew_certificates"],
    )
    assert message == "certificates: every proxy serves its certificates"
    assert run["ti"].said["report"]["outcome"] == "nothing to do"


def test_the_line_of_a_run_that_failed_is_in_its_log(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    with capture_logs() as logged:
        message = report_of(context({"lock": "success", "deploy_0": "failed"}, lock=LOCK))
    assert [one["event"] for one in logged if one["log_level"] == "error"] == [message]


@pytest.mark.parametrize(
    ("subject", "told", "said"),
    [
        ("deploy of v2", {"resolve_ref": REVISION}, f"deploy of v2 ({REVISION[:12]}): "),
        ("rollback", {"previous_release__revision": REVISION}, f"rollback ({REVISION[:12]}): "),
        # Its own template says so, and more.
        (f"dry run of v2 ({REVISION[:12]}) (no finding)", {"check__revision": REVISION}, "(no finding): "),
    ],
)
def test_a_report_names_the_revision(proxies: Any, subject: str, told: dict[str, str], said: str) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = context({"lock": "success", "deploy_0": "failed"}, lock=LOCK, **told)
    assert said in report_of(run, subject=subject)
    assert run["ti"].said["report"]["record"]["revision"] == REVISION


def test_a_dry_run_is_recorded_on_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.ReportOperator, "read_fleet", lambda self: pytest.fail("a machine is asked"))
    run: Any = {**context({"lock": "skipped", "check": "failed"}), "params": {"dry_run": True}}
    with pytest.raises(AirflowFailException, match="dry run of v2: refused before the switch"):
        report.ReportOperator(task_id="report", app_id=APP, subject="dry run of v2").execute(run)


def test_a_run_without_the_lock_is_recorded_once_a_proxy_that_was_away_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "RECORD_INTERVAL", 0.0)
    away = BlueGreenError("lb-1 cannot be reached")
    away.transient = True
    hook = create_autospec(ProxiesHook, instance=True)
    hook.record.side_effect = [away, away, {}]
    monkeypatch.setattr(report, "ProxiesHook", MagicMock(return_value=hook))
    run = context({"lock": "failed"}, lock__found_proxies=[LB.model_dump(mode="json")])
    assert "refused before the switch" in report_of(run)
    assert hook.record.call_count == 3
    hook.close.assert_called_once()


def test_a_run_whose_record_cannot_be_written_is_reported_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = create_autospec(ProxiesHook, instance=True)
    hook.record.side_effect = BlueGreenError("lb-1: its disk is full")
    monkeypatch.setattr(report, "ProxiesHook", MagicMock(return_value=hook))
    run = context({"lock": "failed"}, lock__found_proxies=[LB.model_dump(mode="json")])
    assert "refused before the switch" in report_of(run)
    hook.record.assert_called_once()


def test_a_deploy_of_what_is_live_ends_well_and_says_so(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = context()
    with pytest.raises(AirflowSkipException), failures_reported(run):
        raise NothingToDoError("every droplet of blue runs v2", Outcome.ALREADY_LIVE)
    found = run["ti"].said["nothing_to_do"]
    states = {"lock": "success", "provision_check": "skipped"}
    run = context(states, lock=LOCK, provision_check__nothing_to_do=found)
    report.ReportOperator(task_id="report", app_id=APP, subject="deploy of v2").execute(run)
    said = run["ti"].said["report"]
    assert said["message"] == "deploy of v2: already live: every droplet of blue runs v2; live is blue"


SETTLED = {"outcome": "already live", "message": "every droplet of green runs v2"}


def test_what_was_found_before_a_run_was_cleared_does_not_count(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    states = {"lock": "failed", "provision_check": "upstream_failed"}
    run = context(states, lock=LOCK, provision_check__nothing_to_do=SETTLED)
    assert report_of(run).startswith("deploy of v2: refused before the switch")


def test_a_switch_that_the_report_takes_back_was_not_live_already(proxies: Any) -> None:
    """A run that is cleared between its switch and its confirmation finds its own switch."""
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=False)
    proxies.statuses.side_effect = [
        {"lb-1": status_at_end(Color.GREEN, pending=waiting)},
        {"lb-1": status_at_end(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))},
    ]
    states = {"lock": "success", "provision_check": "skipped"}
    message = report_of(context(states, lock=LOCK, provision_check__nothing_to_do=SETTLED))
    assert message.startswith(
        "deploy of v2: rolled back: the run was cleared before its switch was confirmed; live is blue"
    )


def test_a_provisioning_is_done_although_no_droplet_lacked_its_release(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = context({"lock": "success", "install_release": "skipped"}, lock=LOCK)
    message = report_of(run, good=True, needs_confirmation=False, may_be_skipped=["install_release"])
    assert message == "deploy of v2: done"


def test_a_provisioning_that_was_ended_by_hand_is_not_done(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = context({"lock": "success", "create_droplets": "skipped"}, lock=LOCK)
    assert "the run was ended before it was done" in report_of(run, needs_confirmation=False)
