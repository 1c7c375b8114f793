"""A droplet belongs to the last run that claimed it; what earlier runs left behind changes nothing there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from agent.protocol import Code, Verb
from bluegreen.color import Color
from bluegreen.errors import AgentRefusedError, DropletRefusedError, ProxyError
from bluegreen.hooks import remote_job
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import deploy, previous_release
from bluegreen.operators import lifecycle_commands as command_hooks
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app_file import load_app
from bluegreen.settings.hooks import Hook, Moment
from tests.started import good
from tests.unit.artifacts import Transfers, built, kept
from tests.unit.droplet_agents import Answer, DropletAgents, Refusal, ended
from tests.unit.fleets import GREEN, LB, ONE_EACH, droplet
from tests.unit.runs import APP, REVISION, context

pytestmark = pytest.mark.usefixtures("trusting")

NAME = f"app-{APP}"
UNIT = f"bluegreen-{NAME}-{REVISION[:12]}"
OLD_UNIT = f"bluegreen-{NAME}-{'b' * 12}"
SECOND = droplet(4, "green-2")
SECOND_LB = droplet(5, "lb-2")
TWO = ONE_EACH.model_copy(update={"green": (GREEN, SECOND)})
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=TWO).model_dump(mode="json")
LOCK = HeldLock(proxies=(LB, SECOND_LB), tokens={"lb-1": 7, "lb-2": 9}).model_dump(mode="json")
LOCK_LOST = ProxyError("this run no longer holds the lock", code="lock_lost")
AWAY = DropletUnreachableError("green-1 cannot be reached by SSH")
NEWER = Refusal("another run has claimed this droplet since", Code.CLAIMED)
JOB_VERBS = (Verb.START_JOB, Verb.FOLLOW_JOB, Verb.END_JOB)
NEWER_BY_NUMBER = "another run has claimed this droplet since (its token 8000 is newer than 9)"


class Droplets(DropletAgents):
    """Droplets, and proxies that the run has locked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.proxies: Any = create_autospec(ProxiesHook, instance=True, app=load_app(APP))
        monkeypatch.setattr(ProxiesHook, "holding", lambda *_: self.proxies)
        self.transfers = Transfers(monkeypatch)


@pytest.fixture
def droplets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Droplets:
    kept(monkeypatch, tmp_path)
    return Droplets(monkeypatch)


def deploy_task() -> Any:
    return deploy.DeployOperator(
        task_id="deploy",
        app_id=APP,
        lock=LOCK,
        plan=PLAN,
        revision=REVISION,
        ip=str(GREEN.public),
        built=built(),
    )


def roll_back() -> Any:
    task: Any = previous_release.PreviousReleaseOperator(
        task_id="previous_release",
        app_id=APP,
        lock=LOCK,
        plan={**PLAN, "good": good(REVISION, "green-1", "green-2")},
        activation=[],
    )
    task._running = lambda plan: REVISION
    task._ledger = lambda plan: []
    task.skip = lambda ti, tasks: None
    return task.execute({**context(), "params": {"revision": None}})


def test_a_deploy_claims_its_droplet_with_the_greatest_of_its_tokens(droplets: Droplets) -> None:
    deploy_task().execute(context())
    assert droplets.sent == [("green-1", verb) for verb in JOB_VERBS]
    assert droplets.tokens == {9}


def test_a_deploy_that_is_cleared_after_its_switch_starts_nothing(droplets: Droplets) -> None:
    droplets.proxies.require_idle.side_effect = ProxyError("green has it", code="not_idle")
    with pytest.raises(AirflowFailException, match="green has it"):
        deploy_task().execute(context())
    assert droplets.sent == []


def test_a_deploy_whose_droplet_is_another_runs_fails_with_that_and_stops_nothing(
    droplets: Droplets,
) -> None:
    droplets.answers["green-1", Verb.START_JOB] = NEWER
    with pytest.raises(
        AirflowFailException, match=r"^green-1 .*: another run has claimed this droplet since$"
    ):
        deploy_task().execute(context())
    assert droplets.sent == [("green-1", Verb.START_JOB)]


@pytest.mark.parametrize("verb", [Verb.START_JOB, Verb.CLAIM])
def test_a_token_that_no_proxy_gave_is_in_the_way_once(droplets: Droplets, verb: Verb) -> None:
    refused = Refusal(f"{NEWER_BY_NUMBER}; nothing was started", Code.CLAIMED)
    droplets.answers["green-1", verb] = refused
    with pytest.raises(AirflowFailException, match="no other run holds the lock") as raised:
        deploy_task().execute(context()) if verb is Verb.START_JOB else roll_back()
    assert f"/var/lib/bluegreen/{NAME}.token" in str(raised.value)
    assert "a new run is let in" in str(raised.value)
    droplets.proxies.make_known.assert_called_once_with(8000)


def test_a_file_is_not_sent_to_a_droplet_that_is_another_runs(droplets: Droplets) -> None:
    droplets.transfers.fails = AgentRefusedError(NEWER_BY_NUMBER, Code.CLAIMED)
    droplets.proxies.make_known.side_effect = LOCK_LOST
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        deploy_task().execute(context())
    assert droplets.sent == []


def test_a_number_that_cannot_be_a_token_is_said_to_be_none_and_where_it_stands(droplets: Droplets) -> None:
    said = NEWER_BY_NUMBER.replace("8000", "9" * 18)
    droplets.answers["green-1", Verb.START_JOB] = Refusal(said, Code.CLAIMED)
    with pytest.raises(AirflowFailException, match=f"remove /var/lib/bluegreen/{NAME}.token"):
        deploy_task().execute(context())
    assert not droplets.proxies.make_known.called


def test_a_token_of_a_run_that_has_the_lock_by_now_is_that(droplets: Droplets) -> None:
    droplets.answers["green-1", Verb.START_JOB] = Refusal(NEWER_BY_NUMBER, Code.CLAIMED)
    droplets.proxies.make_known.side_effect = LOCK_LOST
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        deploy_task().execute(context())


def test_a_droplet_on_which_a_release_is_just_being_started_is_claimed_a_little_later(
    droplets: Droplets,
) -> None:
    droplets.answers["green-1", Verb.START_JOB] = Refusal("being started", Code.BUSY)
    with pytest.raises(AirflowException, match="being started") as raised:
        deploy_task().execute(context())
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("stopped", [[], NEWER, AWAY])
def test_a_deploy_that_has_lost_its_lock_stops_its_job_and_says_so_whether_that_works_or_not(
    droplets: Droplets, stopped: Answer
) -> None:
    droplets.answers["green-1", Verb.FOLLOW_JOB] = ended("running")
    droplets.answers["green-1", Verb.END_JOB] = stopped

    def renew() -> None:
        if ("green-1", Verb.FOLLOW_JOB) in droplets.sent:
            raise LOCK_LOST

    droplets.proxies.renew_in_time.side_effect = renew
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        deploy_task().execute(context())
    assert droplets.sent == [("green-1", verb) for verb in JOB_VERBS]
    assert droplets.tokens == {9}


def test_a_job_whose_droplet_is_away_goes_on_for_the_retry(
    droplets: Droplets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_job, "RECONNECT_SECONDS", 0.0)
    monkeypatch.setattr(remote_job, "RECONNECT_INTERVAL", 0.01)
    droplets.answers["green-1", Verb.FOLLOW_JOB] = AWAY
    with pytest.raises(AirflowException, match="cannot be reached"):
        deploy_task().execute(context())
    assert ("green-1", Verb.END_JOB) not in droplets.sent


def test_an_app_s_own_commands_claim_their_droplet_as_well(droplets: Droplets) -> None:
    droplets.answers["green-1", Verb.FOLLOW_JOB] = ended("success")
    task: Any = command_hooks.LifecycleCommandsOperator(
        task_id="before_deploy", app_id=APP, moment=Moment.BEFORE_DEPLOY, lock=LOCK, revision=REVISION
    )
    hooks = task.app.hooks.model_copy(update={"before_deploy": [Hook(command=["true"], droplets="one")]})
    task.__dict__["app"] = task.app.model_copy(update={"hooks": hooks})
    task.execute({**context(provision_check__plan=PLAN), "params": {"ref": "v2"}})
    assert droplets.sent == [("green-1", verb) for verb in JOB_VERBS]
    assert droplets.tokens == {9}


def test_a_rollback_claims_every_idle_droplet_and_no_other(droplets: Droplets) -> None:
    assert roll_back() == []
    assert sorted(droplets.sent) == [("green-1", Verb.CLAIM), ("green-2", Verb.CLAIM)]
    assert droplets.tokens == {9}


@pytest.mark.parametrize(
    "trouble", [AWAY, DropletRefusedError("green-1 refused the login"), Refusal("python3: cannot")]
)
def test_a_rollback_goes_on_without_a_droplet_that_cannot_be_claimed_and_says_what_may_happen(
    droplets: Droplets, trouble: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    droplets.answers["green-1", Verb.CLAIM] = trouble
    assert roll_back() == []
    assert ("green-2", Verb.CLAIM) in droplets.sent
    [warning] = [line for line in capsys.readouterr().out.splitlines() if "may yet restart the app" in line]
    assert "green-1" in warning
    assert f"systemctl list-units 'bluegreen-{NAME}-*'" in warning


def test_a_rollback_whose_droplets_are_another_runs_moves_nothing(droplets: Droplets) -> None:
    droplets.answers["green-2", Verb.CLAIM] = NEWER
    with pytest.raises(
        AirflowFailException, match=r"^green-2 .*: another run has claimed this droplet since$"
    ):
        roll_back()


def test_a_rollback_that_has_lost_its_lock_claims_nothing(droplets: Droplets) -> None:
    droplets.proxies.renew.side_effect = LOCK_LOST
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        roll_back()
    assert droplets.sent == []
