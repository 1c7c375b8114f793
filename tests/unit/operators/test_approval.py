"""A person's word before traffic moves."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import approval
from bluegreen.operators.approval import SwitchApprovalOperator
from bluegreen.release.migrations import Migration, Phase, RanCommand
from bluegreen.run.approval_request import ASKED_AGAIN, MOST_COMMITS, Request, demanded_by
from bluegreen.run.events import Event
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.traffic import Affinity
from bluegreen.source.access import Access
from bluegreen.validation.own_requests import Sample
from tests.unit.app_with_processes import app_with_processes
from tests.unit.repositories import app_of

pytestmark = pytest.mark.usefixtures("trusting")

APP = load_app("my_perl_app")
OLD, NEW = "a" * 40, "b" * 40


def droplet(number: int, name: str) -> Droplet:
    address = IPv4Address(f"198.18.0.{number}")
    return Droplet(id=number, name=name, status="active", public=address, private=None)


LB, BLUE, GREEN = droplet(1, "lb-1"), droplet(2, "blue-1"), droplet(3, "green-1")
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=Fleet(proxies=(LB,), blue=(BLUE,), green=(GREEN,)))
LOCK = HeldLock(proxies=(LB,), tokens={"lb-1": 7}).model_dump(mode="json")
BASELINE = [Sample(milliseconds=1.0, status=302, revision=OLD, statuses=[302])] * 9
BASELINE += [Sample(milliseconds=1.0, status=503, revision=None)]


def request(revision: str = NEW, **changes: Any) -> Request:
    return Request(**{"app": APP, "plan": PLAN, "revision": revision, "baseline": BASELINE, **changes})


def test_everything_that_is_needed_to_decide_is_shown() -> None:
    shown = request(reason="a *friendlier* [page](http://example.org)").markdown([f"> {NEW[:7]} Greet (Ann)"])
    assert "from **blue** (aaaaaaaaaaaa) to **green** (bbbbbbbbbbbb)" in shown
    on_proxy = "curl -H 'Host: green.example.com' http://127.0.0.1/"
    assert f'\n    ssh root@198.18.0.1 "{on_proxy}"' in shown
    assert "healthy on green-1 (198.18.0.3)" in shown
    assert "10 requests meanwhile, 1 failed" in shown
    # Verbatim, so that nobody who can commit or trigger can make it look like something else.
    assert f"\n    + {NEW[:7]} Greet (Ann)" in shown
    assert "\n    a *friendlier* [page](http://example.org)" in shown


def test_what_was_run_for_the_release_is_shown_as_it_is() -> None:
    ran = RanCommand(command="sqitch deploy", began=datetime.now(UTC), seconds=3.0, exit_status=0)
    migration = Migration(
        phase=Phase.EXPAND, droplet="green-1", ran=(ran,), before="[3](x)", after="0 pending"
    )
    shown = request(migration=migration).markdown(None)
    line = "expand ran sqitch deploy (3 s) on green-1 ([3](x) before, 0 pending after)"
    assert f"Migrations:\n\n    {line}" in shown
    assert "Migrations:" not in request().markdown(None)


def test_what_a_switch_does_to_sessions_on_droplets_is_shown_where_clients_stay_on_a_droplet() -> None:
    words = "Every client is sent to a droplet of green. Sessions that blue's droplets keep in files"
    assert words not in request().markdown(None)
    traffic = APP.traffic.model_copy(update={"affinity": Affinity.COOKIE})
    sticky = APP.model_copy(update={"traffic": traffic})
    assert words in request(app=sticky).markdown(None)
    first = PLAN.model_copy(update={"live": None})
    assert "Sessions" not in request(app=sticky, plan=first).markdown(None)


def test_what_moves_with_the_traffic_is_named() -> None:
    shown = request(app=app_with_processes()).markdown(None)
    assert (
        "Once the switch is confirmed, green runs its processes and timers: cleanup, mailer and worker."
        in shown
    )
    assert "Once the switch is confirmed" not in request().markdown(None)


def test_a_path_that_proves_nothing_is_shown() -> None:
    assert "- warning: /old proves nothing" in request(unproven=["/old"]).markdown(None)


def test_whoever_may_look_from_elsewhere_is_shown_how() -> None:
    assert "X-Preview-Key" not in request().markdown(None)
    app = load_app("my_perl_app")
    connections = app.connections.model_copy(update={"preview": "shop_preview"})
    traffic = app.traffic.model_copy(update={"preview_allow": [IPv4Network("203.0.113.0/24")]})
    app = app.model_copy(update={"connections": connections, "traffic": traffic})
    shown = request(app=app).markdown(None)
    assert "with the password of the connection shop_preview" in shown
    assert "curl -H 'Host: green.example.com' -H 'X-Preview-Key: …' http://198.18.0.1/" in shown
    assert "\n    curl -H 'Host: green.example.com' http://198.18.0.1/" in shown


def test_the_list_of_commits_is_bounded() -> None:
    shown = request().markdown([f"> {number:07} Commit (Ann)" for number in range(MOST_COMMITS + 1)])
    assert shown.count(" Commit (Ann)") == MOST_COMMITS
    assert "… and more" in shown


def test_without_an_old_revision_there_are_no_commits_in_between() -> None:
    assert request(baseline=[]).range is None
    assert request(OLD).range is None
    assert request().range == (OLD, NEW)
    assert "not known" in request(baseline=[]).markdown(None)
    assert "live already" in request(OLD).markdown(None)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = create_autospec(ProxiesHook, instance=True)
    monkeypatch.setattr(ProxiesHook, "holding", lambda *_: hook)
    return hook


def answer(
    choice: str, user: dict[str, str] | None, *, triggered_by: str | None = "bob"
) -> tuple[dict[str, Any], Any]:
    """Resume the task with an answer; what was pushed to XCom, and what the task ended with."""
    operator = SwitchApprovalOperator(
        app_id="my_perl_app",
        task_id="approval",
        subject="Switch?",
        lock=LOCK,
        plan=PLAN.model_dump(mode="json"),
        revision=NEW,
        baseline={"samples": BASELINE, "unproven": []},
    )
    said: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: said.update({key: value}), task_id="approval")
    event = {"chosen_options": [choice], "params_input": {}, "responded_by_user": user}
    run = SimpleNamespace(dag_id="deploy", run_id="run", triggering_user_name=triggered_by)
    try:
        context: Any = {"ti": ti, "dag_run": run}
        ended: Any = operator.execute_complete(context, {**event, "responded_at": datetime.now(UTC)})
    except AirflowException as error:
        ended = error
    return said, ended


def test_an_approved_run_goes_on_with_its_usual_lease(proxies: Any) -> None:
    said, ended = answer("Approve", {"id": "1", "name": "alice"})
    assert said["answer"]["approver"] == "alice"
    assert ended["chosen_options"] == ["Approve"]
    proxies.renew.assert_called_once_with(lease=APP.timeouts.lease)


@pytest.mark.parametrize(
    ("user", "who"),
    [
        ({"id": "1", "name": "alice"}, "not approved by alice"),
        (None, "not approved by anybody within 3600 s (setting timeouts.approval)"),
    ],
)
def test_a_no_and_no_answer_end_the_run(proxies: Any, user: dict[str, str] | None, who: str) -> None:
    said, ended = answer("Reject", user)
    assert said == {"error": who}
    assert isinstance(ended, AirflowFailException)
    proxies.renew.assert_not_called()


class Asked:
    """What a task does that asks for an approval, in its order."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, required: bool = True, cleared: int = 0, attempt: int = 1
    ) -> None:
        self.steps: list[Any] = []
        self.said: dict[str, Any] = {}
        monkeypatch.setattr(SwitchApprovalOperator, "_commits", lambda *_: [])
        monkeypatch.setattr(ApprovalOperator, "execute", lambda *_: self.steps.append("asked"))
        monkeypatch.setattr(approval, "notify", lambda _app, *said: self.steps.append(said))
        operator = SwitchApprovalOperator(
            app_id="my_perl_app",
            task_id="approval",
            subject="Switch v2 live?",
            lock=LOCK,
            plan=PLAN.model_dump(mode="json"),
            revision=NEW,
            baseline={"samples": [], "unproven": []},
        )
        ti = SimpleNamespace(
            try_number=attempt,
            log_url="http://airflow/dags/d/runs/r/tasks/approval?try_number=1",
            xcom_push=lambda key, value: self.said.update({key: value}),
        )
        run = SimpleNamespace(clear_number=cleared)
        params = {"require_approval": required, "reason": ""}
        context: Any = {"ti": ti, "params": params, "dag_run": run}
        operator.execute(context)
        self.shown = operator.body or ""


@pytest.mark.parametrize("required", [True, False])
def test_only_a_run_that_requires_approval_is_held_up(
    monkeypatch: pytest.MonkeyPatch, proxies: Any, *, required: bool
) -> None:
    steps = Asked(monkeypatch, required=required).steps
    assert ("asked" in steps) is required
    leases = [call.kwargs["lease"] for call in proxies.renew.call_args_list]
    assert leases == ([APP.timeouts.approval + APP.timeouts.lease] if required else [])


def test_whoever_is_to_approve_is_told_where_before_airflow_is_asked_so_that_a_slow_service_is_no_race(
    monkeypatch: pytest.MonkeyPatch, proxies: Any
) -> None:
    message = "my_perl_app waits for an approval: Switch v2 live?"
    page = "http://airflow/dags/d/runs/r/tasks/approval/required_actions"
    assert Asked(monkeypatch).steps == [(Event.APPROVAL, message, page), "asked"]


def test_a_question_that_is_asked_again_says_so_where_it_is_answered_and_in_the_notification(
    monkeypatch: pytest.MonkeyPatch, proxies: Any
) -> None:
    first, again = Asked(monkeypatch), Asked(monkeypatch, attempt=2)
    assert "**Asked again: Airflow loses an answer" in again.shown
    assert ASKED_AGAIN not in first.shown
    [(_, message, _), asked] = again.steps
    assert (message, asked) == (f"my_perl_app waits for an approval: Switch v2 live? {ASKED_AGAIN}", "asked")


def with_policy(monkeypatch: pytest.MonkeyPatch, **policy: Any) -> App:
    """Let the app's file have this policy."""
    app = app_of(APP.repository, **policy)
    monkeypatch.setattr(SwitchApprovalOperator, "app", app)
    return app


@pytest.mark.parametrize(
    ("user", "approvers", "who"),
    [
        ({"id": "7", "name": "bob"}, [], r"bob triggered this run, and somebody else .*policy\.approval"),
        ({"id": "7", "name": "Bob"}, ["bob"], r"Bob triggered this run, and one of bob who did not"),
        ({"id": "bob", "name": "Bob B."}, [], r"Bob B\. triggered this run"),
        (
            {"id": "1", "name": "alice"},
            ["carol"],
            r"alice may not approve it, but one of carol .*approvers",
        ),
        (None, [], r"nobody may not approve it, but somebody else"),
    ],
)
def test_a_yes_counts_only_from_an_approver_who_did_not_trigger_the_run(
    monkeypatch: pytest.MonkeyPatch,
    proxies: Any,
    user: dict[str, str] | None,
    approvers: list[str],
    who: str,
) -> None:
    with_policy(monkeypatch, approvers=approvers)
    said, ended = answer("Approve", user)
    assert re.search(who, said["error"])
    assert "answer" not in said
    assert isinstance(ended, AirflowFailException)
    proxies.renew.assert_not_called()


def test_an_approver_of_the_apps_file_counts(monkeypatch: pytest.MonkeyPatch, proxies: Any) -> None:
    with_policy(monkeypatch, approvers=["alice", "bob"])
    assert answer("Approve", {"id": "1", "name": "alice"})[0]["answer"]["approver"] == "alice"
    assert answer("Approve", {"id": "1", "name": "alice"}, triggered_by=None)[0]["answer"]


def test_a_run_that_was_cleared_cannot_be_approved_because_nobody_knows_who_cleared_it(
    monkeypatch: pytest.MonkeyPatch, proxies: Any
) -> None:
    with pytest.raises(AirflowFailException, match="was cleared; Airflow does not say by whom"):
        Asked(monkeypatch, cleared=1)
    assert Asked(monkeypatch, required=False, cleared=1).steps == []


@pytest.mark.parametrize(
    ("policy", "params", "demand"),
    [
        ({}, {}, None),
        ({}, {"require_approval": True}, "setting policy.approval: asked, parameter require_approval"),
        ({"approval": "always"}, {}, "setting policy.approval: always"),
        ({"approval": "always"}, {"require_approval": False}, "setting policy.approval: always"),
        ({"approval": "never"}, {"require_approval": True}, None),
        ({"approval": "never", "approvers": ["a"]}, {}, None),
        ({}, {"emergency": True}, None),
        (
            {"approval": "never", "approvers": ["a"]},
            {"emergency": True},
            "setting policy.approvers, parameter emergency",
        ),
    ],
)
def test_the_apps_file_says_which_runs_need_an_approval(
    policy: dict[str, Any], params: dict[str, Any], demand: str | None
) -> None:
    assert demanded_by(app_of(APP.repository, **policy), params, irreversible=False) == demand


@pytest.mark.parametrize(
    ("policy", "demand"),
    [
        ({}, None),
        ({"approval": "never", "approvers": ["a"]}, "setting policy.approvers, for an irreversible release"),
        ({"approval": "always", "approvers": ["a"]}, "setting policy.approval: always"),
    ],
)
def test_approvers_have_to_approve_every_irreversible_release(
    policy: dict[str, Any], demand: str | None
) -> None:
    assert demanded_by(app_of(APP.repository, **policy), {}, irreversible=True) == demand


def test_whoever_approves_is_shown_that_there_is_no_way_back() -> None:
    plan = PLAN.model_copy(update={"irreversible": "0123: *drops* users.email"})
    shown = request(plan=plan).markdown(None)
    assert "**There is no way back.** Traffic stays on this release even if it is bad" in shown
    assert "\n    0123: *drops* users.email\n" in shown
    assert "no way back" not in request().markdown(None)


def test_whoever_approves_is_shown_what_is_unusual() -> None:
    plan = PLAN.model_copy(update={"older": "older than live (aaa) by 2 commits"})
    shown = request(plan=plan, emergency=True).markdown(None)
    assert "- warning: older than live (aaa) by 2 commits" in shown
    assert "- warning: an emergency: absolute limits alone judge the new release" in shown


def test_the_commits_in_between_are_read_with_the_apps_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def commits(_app: App, *_range: str, most: int, access: Access) -> list[str]:
        seen.append(access.name)
        return [f"> {NEW[:7]} Greet (Ann)"][:most]

    monkeypatch.setattr(approval, "commits_between", commits)
    monkeypatch.setenv("AIRFLOW_CONN_FORGE", json.dumps({"conn_type": "git", "password": "a token"}))
    connections = APP.connections.model_copy(update={"repository": "forge"})
    monkeypatch.setattr(SwitchApprovalOperator, "app", APP.model_copy(update={"connections": connections}))
    operator = SwitchApprovalOperator(
        app_id="my_perl_app",
        task_id="approval",
        subject="Switch?",
        lock=LOCK,
        plan=PLAN.model_dump(mode="json"),
        revision=NEW,
        baseline={"samples": BASELINE, "unproven": []},
    )
    run: Any = SimpleNamespace(params={"reason": ""}, is_emergency=False)
    assert f"+ {NEW[:7]} Greet (Ann)" in operator._request(run, again=False)
    assert seen == ["forge"]
