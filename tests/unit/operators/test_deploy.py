"""Installing and starting a release on one droplet, where something goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
)

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.file_transfer import AlteredFileError
from bluegreen.operators import deploy
from tests.unit.artifacts import CONTENT, DIGEST, RELEASE, Transfers, built, kept
from tests.unit.droplet_agents import Answer, DropletAgents, Refusal, ended
from tests.unit.fleets import GREEN
from tests.unit.runs import APP, LOCK, LOST, REVISION, context, plan

pytestmark = pytest.mark.usefixtures("trusting")


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ArtifactStore:
    return kept(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def transfers(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    return Transfers(monkeypatch)


def one_droplet(
    monkeypatch: pytest.MonkeyPatch, state: str, result: str = "success", **failing: Answer
) -> DropletAgents:
    """A droplet whose job ends as the test says.

    :param failing: what a verb answers instead, by its name.
    """
    agents = DropletAgents(monkeypatch)
    if (state, result) != ("success", "success"):
        agents.answers["green-1", Verb.FOLLOW_JOB] = ended(state, result)
    agents.answers |= {("green-1", Verb(name)): answer for name, answer in failing.items()}
    return agents


def deploy_task(configuration: str | None = None) -> deploy.DeployOperator:
    task = deploy.DeployOperator(
        task_id="deploy",
        app_id=APP,
        lock=LOCK,
        plan=plan(Color.BLUE),
        revision=REVISION,
        ip=str(GREEN.public),
        built=built(configuration),
    )
    assert isinstance(task, deploy.DeployOperator)
    return task


def steps(agents: DropletAgents) -> dict[str, Any]:
    [program] = [request["program"] for request in agents.requests if "program" in request]
    return {one["verb"]: one["request"] for one in program["steps"]}


@pytest.mark.usefixtures("proxies")
def test_the_artifact_is_sent_and_what_was_built_is_installed(
    monkeypatch: pytest.MonkeyPatch, transfers: Transfers
) -> None:
    agents = one_droplet(monkeypatch, "success")
    assert deploy_task().execute(context()) == {"droplet": "green-1", "job_seconds": 1.5}
    assert transfers.sent == [(f"{DIGEST}.tar.gz", CONTENT)]
    install = steps(agents)["install"]
    assert (install["release"], install["digest"]) == (RELEASE, DIGEST)
    assert install["artifact"]["name"] == f"{DIGEST}.tar.gz"


@pytest.mark.usefixtures("proxies")
def test_a_droplet_that_has_the_release_gets_its_configuration_alone(
    monkeypatch: pytest.MonkeyPatch, transfers: Transfers
) -> None:
    transfers.there = {RELEASE}
    agents = one_droplet(monkeypatch, "success")
    deploy_task().execute(context())
    assert transfers.sent == []
    assert steps(agents)["install"]["artifact"] is None


@pytest.mark.usefixtures("proxies")
def test_an_artifact_that_was_changed_in_the_store_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, transfers: Transfers
) -> None:
    agents = one_droplet(monkeypatch, "success")
    transfers.fails = AlteredFileError("it is not what it was")
    with pytest.raises(
        AirflowFailException, match=r"the artifact store .* is not what a build has put there"
    ):
        deploy_task().execute(context())
    assert agents.sent == []


@pytest.mark.usefixtures("proxies")
def test_an_artifact_that_is_gone_from_the_store_is_named(
    monkeypatch: pytest.MonkeyPatch, store: ArtifactStore
) -> None:
    agents = one_droplet(monkeypatch, "success")
    store._remove([f"{DIGEST}.tar.gz"])
    with pytest.raises(AirflowFailException, match=r"the artifact store .* has no .*d\.tar\.gz"):
        deploy_task().execute(context())
    assert agents.sent == []


@pytest.mark.usefixtures("proxies")
def test_an_environment_that_was_changed_since_the_build_is_not_given_to_some_droplets_only(
    monkeypatch: pytest.MonkeyPatch, transfers: Transfers
) -> None:
    agents = one_droplet(monkeypatch, "success")
    with pytest.raises(AirflowFailException, match="was changed after this run's task build"):
        deploy_task(configuration="e" * 64).execute(context())
    assert (agents.sent, transfers.sent) == ([], [])


@pytest.mark.parametrize("failure", [LOST, Refusal("no")])
@pytest.mark.usefixtures("proxies")
def test_traces_that_cannot_be_removed_do_not_make_a_good_deploy_a_failed_one(
    monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    one_droplet(monkeypatch, "success", end_job=failure)
    assert deploy_task().execute(context()) == {"droplet": "green-1", "job_seconds": 1.5}


@pytest.mark.usefixtures("proxies")
def test_the_cause_of_a_failed_deploy_is_not_hidden_by_traces_that_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_droplet(monkeypatch, "failed", "exit-code", end_job=LOST)
    with pytest.raises(AirflowFailException, match="its deploy job ended with exit-code"):
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
