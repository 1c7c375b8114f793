"""Building and starting a release on one droplet, where something goes wrong."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
)

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.operators import deploy
from tests.unit.droplet_agents import Answer, DropletAgents, Refusal, ended
from tests.unit.fleets import GREEN
from tests.unit.runs import APP, LOCK, LOST, REVISION, context, plan

pytestmark = pytest.mark.usefixtures("trusting")


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
