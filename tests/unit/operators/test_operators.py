"""Operators and sensors on the branches that a healthy fleet does not take."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from structlog.testing import capture_logs

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, NothingToDoError, RefError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import deploy, lock, report, resolve_ref, rollback
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.judge import JudgeOperator
from bluegreen.operators.support.failures import NOTHING_TO_DO_KEY, failures_reported
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.outcome import Outcome
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.run.report import RollbackResult
from bluegreen.settings.app import App
from bluegreen.source.policy import Allowed
from bluegreen.traffic.agent_answers import Counters, RevertResult, SwitchResult
from tests.unit.droplet_agents import Answer, DropletAgents, Refusal, ended

pytestmark = pytest.mark.usefixtures("trusting")

APP = "my_perl_app"
REVISION = "a" * 40
TOKEN = 7
LOST = DropletUnreachableError("the SSH connection was lost")
GONE = BlueGreenError("lb-1 cannot be reached")


def droplet(number: int, name: str) -> Droplet:
    return Droplet(
        id=number,
        name=name,
        status="active",
        public=IPv4Address(f"198.18.0.{number}"),
        private=IPv4Address(f"198.19.0.{number}"),
    )


LB, BLUE, GREEN = droplet(1, "lb-1"), droplet(2, "blue-1"), droplet(3, "green-1")
FLEET = Fleet(proxies=(LB,), blue=(BLUE,), green=(GREEN,))
LOCK = HeldLock(proxies=(LB,), tokens={"lb-1": 7}).model_dump(mode="json")


def plan(live: Color | None) -> dict[str, Any]:
    return Plan(live=live, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")


def context(states: dict[str, str] | None = None, **xcoms: Any) -> Any:
    """A run's context; pushed XComs are kept in ``said``.

    XComs are named by their task, with ``__`` and their key unless that is the default or the task's id.
    """
    said: dict[str, Any] = {}

    def pull(task_ids: str, key: str = "return_value", map_indexes: int = -1) -> Any:
        return xcoms.get(task_ids if key in ("return_value", task_ids) else f"{task_ids}__{key}")

    ti = SimpleNamespace(
        dag_id="deploy",
        run_id="run",
        task_id="report",
        said=said,
        xcom_push=lambda key, value: said.update({key: value}),
        xcom_pull=pull,
        get_task_states=lambda dag_id, run_ids: {"run": states or {}},
        get_task_breadcrumbs=lambda dag_id, run_id: [],
    )
    run = SimpleNamespace(dag_id="deploy", run_id="run", triggering_user_name="alice")
    run.run_type = DagRunType.MANUAL
    run.clear_number, run.start_date, run.conf = 0, datetime(2026, 11, 23, tzinfo=UTC), {}
    dag = SimpleNamespace(
        task_ids=sorted({*(states or {}), *(name.partition("__")[0] for name in xcoms)}),
        params={"dry_run": False, "emergency": False},
    )
    return {"ti": ti, "dag_run": run, "dag": dag, "params": {}}


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = create_autospec(ProxiesHook, instance=True)
    monkeypatch.setattr(ProxiesHook, "holding", lambda *_: hook)
    monkeypatch.setattr(report, "ProxiesHook", MagicMock(holding=lambda *_: hook))
    return hook


def status(live: Color | None, **changes: Any) -> SimpleNamespace:
    known: dict[str, Any] = {"pending": None, "confirmed": None, "last_revert": None}
    known["lock"] = SimpleNamespace(since=100.0, run_id="deploy/run", token=TOKEN)
    known["sessions"] = {Color.BLUE: 3, Color.GREEN: 0}
    known["counters"] = {color: Counters() for color in Color}
    return SimpleNamespace(live=live, known_live=live, **{**known, **changes})


def token_at(at: float) -> int:
    """With which token something was done; the run has had its lock since 100."""
    return TOKEN if at >= 100.0 else TOKEN - 1


def reverted(run_id: str, at: float, refused: bool = False) -> SimpleNamespace:
    return SimpleNamespace(run_id=run_id, at=at, refused=refused, token=token_at(at))


def confirmed(at: float = 200.0, color: Color = Color.GREEN) -> SimpleNamespace:
    return SimpleNamespace(run_id="deploy/run", color=color, revision=REVISION, at=at, token=token_at(at))


def one_droplet(
    monkeypatch: pytest.MonkeyPatch, state: str, result: str = "success", **failing: Answer
) -> DropletAgents:
    """A droplet whose job ends as the test says.

    :param failing: what a verb answers instead, by its name.
    """
    agents = DropletAgents(monkeypatch)
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended(state, result)
    agents.answers |= {("green-1", Verb(name)): answer for name, answer in failing.items()}
    return agents


def deploy_task() -> deploy.DeployReleaseOperator:
    task = deploy.DeployReleaseOperator(
        task_id="deploy",
        app_id=APP,
        lock=LOCK,
        plan=plan(Color.BLUE),
        revision=REVISION,
        ip=str(GREEN.public),
    )
    assert isinstance(task, deploy.DeployReleaseOperator)
    return task


@pytest.mark.parametrize("failure", [LOST, Refusal("no")])
@pytest.mark.usefixtures("proxies")
def test_traces_that_cannot_be_removed_do_not_make_a_good_deploy_a_failed_one(
    monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    one_droplet(monkeypatch, "success", end_job=failure)
    assert deploy_task().execute(context()) == {"droplet": "green-1", "script_seconds": 1.5}


@pytest.mark.usefixtures("proxies")
def test_the_cause_of_a_failed_deploy_is_not_hidden_by_traces_that_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_droplet(monkeypatch, "failed", "exit-code", end_job=LOST)
    with pytest.raises(AirflowFailException, match="its script ended with exit-code"):
        deploy_task().execute(context())


@pytest.mark.usefixtures("proxies")
def test_a_job_that_vanished_is_called_so_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one_droplet(monkeypatch, "missing")
    with pytest.raises(AirflowException, match=r"job is gone .* restarted") as raised:
        deploy_task().execute(context())
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.usefixtures("proxies")
def test_a_deploy_that_took_too_long_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    one_droplet(monkeypatch, "failed", "timeout")
    with pytest.raises(AirflowFailException, match=r"not done within 900 s \(setting timeouts.build\)"):
        deploy_task().execute(context())


@pytest.mark.usefixtures("proxies")
def test_a_worker_is_left_for_health_checks_when_haproxy_keeps_all_others_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_droplet(monkeypatch, "success")
    program = MagicMock(return_value={})
    monkeypatch.setattr(deploy, "deploy_program", program)
    task = deploy_task()
    task.execute(context())
    [release] = program.call_args.args
    assert release.workers == task.app.server.workers + 1


@pytest.mark.usefixtures("proxies")
def test_a_deploy_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    one = one_droplet(monkeypatch, "success")
    deploy_task().execute(context())
    [hook] = one.hooks
    hook.close.assert_called_once()


def test_a_task_that_is_killed_while_its_droplet_is_away_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_droplet(monkeypatch, "running", end_job=LOST)
    deploy_task().on_kill()


def test_a_mistake_of_ours_is_named_in_the_report_without_its_text() -> None:
    run = context()
    with pytest.raises(KeyError), failures_reported(run):
        raise KeyError("secret")
    assert run["ti"].said == {"error": "unexpected KeyError in report, see its log"}


def roll_back(states: dict[str, str] | None = None, **xcoms: Any) -> dict[str, Any]:
    task = rollback.RollbackOperator(task_id="rollback", app_id=APP, lock=LOCK)
    return dict(RollbackResult.model_validate(task.execute(context(states, **xcoms))))


def test_a_first_deploy_has_nothing_to_go_back_to_and_its_rollback_does_not_pretend_trouble(
    proxies: Any,
) -> None:
    proxies.revert.return_value = {"lb-1": RevertResult.parse({"from": None, "to": None, "reverted": False})}
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN)}
    assert roll_back(provision_check__plan=plan(None))["live"] is Color.GREEN


def test_traffic_that_is_not_back_where_it_was_is_trouble(proxies: Any) -> None:
    proxies.revert.return_value = {}
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN)}
    with pytest.raises(AirflowFailException, match="goes to green, but before this run it went to blue"):
        roll_back(provision_check__plan=plan(Color.BLUE))


def test_a_run_that_made_no_plan_moves_nothing_and_sees_that_all_agree(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    ended = roll_back({"provision_check": "failed"})
    assert (ended["live"], ended["moved"], ended["taken_back"]) == (Color.BLUE, False, False)
    # HAProxy may not even run there yet, which the agent would call a mistake.
    proxies.revert.assert_not_called()


def test_the_plan_that_a_run_made_before_it_was_cleared_says_nothing_about_who_was_live(
    proxies: Any,
) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN)}
    cleared = {"provision_check": "upstream_failed"}
    assert roll_back(cleared, provision_check__plan=plan(Color.BLUE))["live"] is Color.GREEN


def test_a_switch_that_a_timer_took_back_before_the_rollback_counts_as_taken_back(
    proxies: Any,
) -> None:
    proxies.revert.return_value = {}
    taken_back = reverted("deploy/run", at=200.0)
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE, last_revert=taken_back)}
    ended = roll_back(provision_check__plan=plan(Color.BLUE))
    assert (ended["moved"], ended["taken_back"]) == (False, True)


def report_of(run: Any, good: bool = False, **settings: Any) -> str:
    told = {"subject": "deploy of v2", **settings}
    task = report.ReportOperator(task_id="report", app_id=APP, **told)
    with nullcontext() if good else pytest.raises(AirflowFailException):
        task.execute(run)
    return str(run["ti"].said["report"]["message"])


SWITCHED = {"switch_traffic": "success", "final_validation": "success", "rollback": "skipped"}


def test_the_lock_is_released_though_the_proxies_disagree(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE), "lb-2": status(Color.GREEN)}
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert "disagree about the live color" in message
    proxies.unlock.assert_called_once()


def test_a_proxy_that_is_away_at_the_end_is_not_called_untouched(proxies: Any) -> None:
    proxies.statuses.side_effect = GONE
    proxies.unlock.side_effect = GONE
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert "lb-1 cannot be reached; it is not known who is live" in message


def test_a_switch_that_a_timer_took_back_is_reported_as_rolled_back(proxies: Any) -> None:
    taken_back = reverted("deploy/run", at=200.0)
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE, last_revert=taken_back)}
    message = report_of(context({**SWITCHED, "confirm": "failed"}, lock=LOCK))
    assert message.startswith("deploy of v2: rolled back:")


def test_traffic_that_went_and_came_back_without_a_note_of_it_is_reported_as_rolled_back(
    proxies: Any,
) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    states = {**SWITCHED, "final_validation": "failed", "rollback": "failed"}
    switched = {"lb-1": {"from": "blue", "to": "green", "milliseconds": 4.0, "at": 150.0}}
    run = context(states, lock=LOCK, provision_check__plan=plan(Color.BLUE), switch_traffic=switched)
    assert report_of(run).startswith("deploy of v2: rolled back:")
    # Somebody has marked the task as successful before it did anything.
    run = context(states, lock=LOCK, provision_check__plan=plan(Color.BLUE))
    assert report_of(run).startswith("deploy of v2: refused before the switch:")


def test_what_a_run_took_back_or_kept_before_it_was_cleared_is_not_its_doing_now(proxies: Any) -> None:
    earlier, own = reverted("deploy/run", at=50.0), confirmed(at=50.0, color=Color.BLUE)
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE, last_revert=earlier, confirmed=own)}
    states = {"deploy_0": "failed", "switch_traffic": "upstream_failed", "rollback": "success"}
    assert report_of(context(states, lock=LOCK)).startswith("deploy of v2: refused before the switch")


def test_a_switch_that_nobody_will_confirm_is_taken_back_at_once(proxies: Any) -> None:
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=False)
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN, pending=waiting)}
    report_of(context({"switch_traffic": "success", "final_validation": "failed"}, lock=LOCK))
    proxies.revert.assert_called_once()


def test_a_switch_that_was_confirmed_before_its_task_died_is_kept_everywhere(proxies: Any) -> None:
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=True, revision=REVISION)
    done = confirmed()
    proxies.statuses.side_effect = [
        {"lb-1": status(Color.GREEN, confirmed=done), "lb-2": status(Color.GREEN, pending=waiting)},
        {name: status(Color.GREEN, confirmed=done) for name in ("lb-1", "lb-2")},
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
        status(Color.GREEN, confirmed=confirmed())
        if kept
        else status(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))
    )
    proxies.statuses.side_effect = [
        {"lb-1": status(Color.GREEN, pending=waiting)},
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
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN, pending=waiting, last_revert=refused)}
    proxies.revert.side_effect = BlueGreenError("blue has no healthy server to go back to")
    message = report_of(context({**SWITCHED, "final_validation": "failed"}, lock=LOCK))
    assert "unclear: blue has no healthy server to go back to; live is green;" in message


def test_a_report_that_is_tried_again_after_it_released_the_lock_tells_the_same(proxies: Any) -> None:
    for other in (None, SimpleNamespace(since=300.0, run_id="deploy/next", token=TOKEN + 1)):
        kept = status(Color.GREEN, confirmed=confirmed(), lock=other)
        proxies.statuses.return_value = {"lb-1": kept}
        states = {**SWITCHED, "confirm": "success"}
        assert "live and confirmed" in report_of(context(states, lock=LOCK), good=True)
        back = status(Color.BLUE, last_revert=reverted("deploy/run", at=200.0), lock=other)
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
    kept = status(Color.GREEN, confirmed=confirmed(), lock=None)
    proxies.statuses.return_value = {"lb-1": kept}
    assert "refused before the switch" in report_of(context(states, lock=LOCK))


def test_a_deploy_that_is_cleared_after_its_confirmation_is_live_all_the_same(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN, confirmed=confirmed())}
    states = {"lock": "success", "deploy_0": "failed", "switch_traffic": "upstream_failed"}
    assert "live and confirmed" in report_of(context(states, lock=LOCK), good=True)


def test_a_proxy_that_was_there_already_is_no_reason_to_doubt_a_switch(proxies: Any) -> None:
    earlier = confirmed(at=50.0)
    earlier.run_id = "deploy/earlier"
    proxies.statuses.return_value = {
        "lb-1": status(Color.GREEN, confirmed=confirmed()),
        "lb-2": status(Color.GREEN, confirmed=earlier),
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
    found = status(Color.GREEN, confirmed=confirmed())
    if ended != "live":
        states |= {"confirm": "skipped", "rollback": "success"}
        found = status(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))
    proxies.statuses.return_value = {"lb-1": found}
    message = report_of(context(states, lock=LOCK, stop_idle_later__stops_at="12:00"), good=ended == "live")
    assert said in message
    assert ("12:00" in message) is (state == "success")


def test_a_report_asks_airflow_for_the_states_once_and_for_no_xcom_twice(proxies: Any) -> None:
    """Each question is a round trip to the API server."""
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN, confirmed=confirmed())}
    run = context({**SWITCHED, "confirm": "success"}, lock=LOCK, provision_check__plan=plan(Color.BLUE))
    states = run["ti"].get_task_states = MagicMock(side_effect=run["ti"].get_task_states)
    pull = run["ti"].xcom_pull = MagicMock(side_effect=run["ti"].xcom_pull)
    assert "live and confirmed" in report_of(run, good=True)
    states.assert_called_once()
    pulled = [str(call) for call in pull.call_args_list]
    assert len(pulled) == len(set(pulled))


def test_a_deploy_that_was_given_a_revision_by_hand_was_refused_by_policy(proxies: Any) -> None:
    """Of a mapped task, each instance has what it left."""
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    states = {"lock": "success", "deploy_0": "success", "deploy_1": "failed"}
    run = context(states, lock=LOCK, deploy__error="it may not be used", deploy__refused_by_policy=True)
    run["dag"].task_ids = ["lock", "deploy"]
    assert report_of(run).startswith("deploy of v2: refused by policy: it may not be used; live is blue")


def test_the_line_of_a_run_that_failed_is_in_its_log(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
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
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    run = context({"lock": "success", "deploy_0": "failed"}, lock=LOCK, **told)
    assert said in report_of(run, subject=subject)
    assert run["ti"].said["report"]["record"]["revision"] == REVISION


def test_a_dry_run_is_recorded_on_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.ReportOperator, "read_fleet", lambda self: pytest.fail("a machine is asked"))
    run: Any = {**context({"lock": "skipped", "check": "failed"}), "params": {"dry_run": True}}
    with pytest.raises(AirflowFailException, match="dry run of v2: refused before the switch"):
        report.ReportOperator(task_id="report", app_id=APP, subject="dry run of v2").execute(run)


def test_a_deploy_of_what_is_live_ends_well_and_says_so(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
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
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    states = {"lock": "failed", "provision_check": "upstream_failed"}
    run = context(states, lock=LOCK, provision_check__nothing_to_do=SETTLED)
    assert report_of(run).startswith("deploy of v2: refused before the switch")


def test_a_switch_that_the_report_takes_back_was_not_live_already(proxies: Any) -> None:
    """A run that is cleared between its switch and its confirmation finds its own switch."""
    waiting = SimpleNamespace(run_id="deploy/run", to=Color.GREEN, prepared=False)
    proxies.statuses.side_effect = [
        {"lb-1": status(Color.GREEN, pending=waiting)},
        {"lb-1": status(Color.BLUE, last_revert=reverted("deploy/run", at=200.0))},
    ]
    states = {"lock": "success", "provision_check": "skipped"}
    message = report_of(context(states, lock=LOCK, provision_check__nothing_to_do=SETTLED))
    assert message.startswith(
        "deploy of v2: rolled back: the run was cleared before its switch was confirmed; live is blue"
    )


def resolve(dry_run: bool, run: Any = None) -> None:
    with DAG("deploy", schedule=None, params={"ref": "main", "dry_run": False}) as dag:
        task = resolve_ref.ResolveRefOperator(
            task_id="resolve_ref", app_id=APP, begins_deploy="lock", begins_dry_run="check", ref="v2"
        )
        task >> [EmptyOperator(task_id="lock"), EmptyOperator(task_id="check")]
    run = run or context()
    run["ti"].map_index = -1
    task.execute(run | {"dag": dag, "params": {"dry_run": dry_run}})


@pytest.mark.parametrize(("dry_run", "skipped"), [(False, "check"), (True, "lock")])
def test_a_run_is_a_deploy_or_a_dry_run(monkeypatch: pytest.MonkeyPatch, dry_run: bool, skipped: str) -> None:
    monkeypatch.setattr(resolve_ref, "resolve", lambda _app, ref: Allowed(ref, REVISION, "branch main"))
    run = context()
    with pytest.raises(DownstreamTasksSkipped) as skip:
        resolve(dry_run, run)
    assert list(skip.value.tasks) == [skipped]
    assert run["ti"].said["return_value"] == REVISION


def test_a_deploy_with_a_parameter_that_there_is_not_ends_at_its_first_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolve_ref, "resolve", lambda _app, ref: Allowed(ref, REVISION, "branch main"))
    run = context()
    run["dag_run"].conf = {"ref": "v2", "dryrun\n": True}
    with pytest.raises(AirflowFailException, match=r"deploy has no parameter dryrun\?; it has: ref, dry_run"):
        resolve(False, run)


def test_a_rollback_with_a_parameter_of_a_deploy_is_neither_a_dry_run_nor_an_emergency() -> None:
    run: Any = {**context({"lock": "failed"}), "params": {"dry_run": True, "emergency": True}}
    assert ThisRun(run).is_dry_run
    assert ThisRun(run).is_emergency
    run["dag"].params = {"revision": None, "live": None}
    assert not ThisRun(run).is_dry_run
    assert not ThisRun(run).is_emergency


def test_a_ref_that_is_not_there_is_one_finding_of_a_dry_run_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_app: App, _ref: str) -> Allowed:
        raise RefError("there is no branch or tag 'v2'")

    monkeypatch.setattr(resolve_ref, "resolve", unknown)
    with pytest.raises(DownstreamTasksSkipped) as skip:
        resolve(dry_run=True)
    assert list(skip.value.tasks) == ["lock"]
    with pytest.raises(AirflowFailException, match="no branch or tag"):
        resolve(dry_run=False)


@pytest.mark.parametrize(
    ("states", "branch"),
    [
        ({"final_validation": "success"}, "confirm"),
        ({"final_validation": "failed", "lock": "success"}, "rollback"),
        ({"final_validation": "upstream_failed", "lock": "success"}, "rollback"),
        ({"final_validation": "upstream_failed", "lock": "failed"}, "report"),
        ({"final_validation": "skipped", "lock": "success", "check": "skipped"}, "report"),
        ({"final_validation": "skipped", "lock": "skipped", "check": "failed"}, "report"),
        ({"final_validation": "skipped", "lock": "success", "check": "failed"}, "rollback"),
    ],
)
def test_the_judge_follows_the_states_of_the_tasks(states: dict[str, str], branch: str) -> None:
    judge = JudgeOperator(task_id="judge")
    assert judge.choose_branch(context(states)) == branch


def test_a_provisioning_that_was_ended_by_hand_is_not_done(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status(Color.BLUE)}
    run = context({"lock": "success", "create_droplets": "skipped"}, lock=LOCK)
    assert "the run was ended before it was done" in report_of(run, needs_confirmation=False)


@pytest.mark.parametrize("goes_back", [True, False], ids=["a rollback", "a deploy"])
def test_a_rollback_that_a_timer_has_forestalled_has_nothing_left_to_do(
    proxies: Any, goes_back: bool
) -> None:
    there = SwitchResult.parse({"from": "green", "to": "green", "already": True})
    proxies.switch.return_value = {"lb-1": there}
    task = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id=APP,
        lock=LOCK,
        plan=plan(Color.BLUE),
        revision=REVISION,
        goes_back=goes_back,
    )
    run = context()
    if not goes_back:
        assert task.execute(run)["lb-1"]["already"]
        assert proxies.switch.call_args.kwargs["statuses"] == []
        return
    with pytest.raises(AirflowSkipException, match="came back to green by itself"):
        task.execute(run)
    # The release from before may not know today's health path.
    assert 404 in proxies.switch.call_args.kwargs["statuses"]
    proxies.statuses.return_value = {"lb-1": status(Color.GREEN)}
    found = run["ti"].said[NOTHING_TO_DO_KEY]
    after = context({"switch_traffic": "skipped"}, lock=LOCK, switch_traffic__nothing_to_do=found)
    assert report_of(after, good=True).startswith(
        "deploy of v2: already live: traffic came back to green by itself"
    )


def test_a_run_that_was_cleared_in_part_is_not_run_again(proxies: Any) -> None:
    with DAG("deploy", schedule=None):
        task = lock.AcquireLockOperator(task_id="lock", app_id=APP, purpose="deploy of v2")
        judge = JudgeOperator(task_id="judge")
        task >> judge >> EmptyOperator(task_id="announce").as_teardown()
    with pytest.raises(AirflowFailException, match=r"ended before \(judge\) .* trigger a new run"):
        task.execute(context({"lock": "running", "judge": "success", "announce": "success"}))
