"""One droplet gets what the others of its color run, from the artifact store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from agent.protocol import Verb
from bluegreen.checks.facts import AppServer, Unit
from bluegreen.checks.gather.expected import unit_path
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators import install_release
from bluegreen.operators.support.seals import LockSeals
from bluegreen.release.release import pairing
from bluegreen.run.missing_release import MissingRelease
from bluegreen.run.plan import HeldLock
from bluegreen.settings.app_file import load_app
from tests.unit.artifacts import CONTENT, DIGEST, RELEASE, Transfers, kept
from tests.unit.droplet_agents import DropletAgents, ended
from tests.unit.fleets import LB, droplet, facts, healthy
from tests.unit.runs import APP, LOCK, Run, context

NEW = droplet(9, "green-2")


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ArtifactStore:
    return kept(monkeypatch, tmp_path)


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    return Transfers(monkeypatch)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> DropletAgents:
    one = DropletAgents(monkeypatch)
    one.answers["green-2", Verb.FOLLOW_JOB] = ended("success")
    return one


@pytest.fixture(autouse=True)
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[AppServer], None]:
    """Let the droplet answer something; by default it is new."""

    def says(server: AppServer) -> None:
        answer = SimpleNamespace(answer=server)
        monkeypatch.setattr(install_release, "ask_app_server", lambda *_: answer)

    says(facts(None))
    return says


def missing(configuration: str = "") -> dict[str, Any]:
    digest = configuration or configuration_of(load_app(APP), {})["digest"]
    return MissingRelease(droplet=NEW, release=RELEASE, configuration=digest).model_dump(mode="json")


def task(found: dict[str, Any]) -> install_release.InstallReleaseOperator:
    one = install_release.InstallReleaseOperator(
        task_id="install_release", app_id=APP, lock=LOCK, missing=found
    )
    assert isinstance(one, install_release.InstallReleaseOperator)
    return one


@pytest.mark.usefixtures("trusting", "proxies")
def test_it_is_installed_loaded_and_started_as_in_a_deploy(
    transfers: Transfers, agents: DropletAgents
) -> None:
    found = missing()
    result = task(found).execute(context(color_release=[found]))
    assert result == {"droplet": "green-2", "job_seconds": 1.5}
    assert transfers.sent == [(f"{DIGEST}.tar.gz", CONTENT)]
    assert {name for name, _ in agents.sent} == {"green-2"}
    [program] = [request["program"] for request in agents.requests if "program" in request]
    assert [one["verb"] for one in program["steps"]] == ["install", "load", "activate"]
    install, _, activate = (one["request"] for one in program["steps"])
    assert (install["release"], install["digest"]) == (RELEASE, DIGEST)
    assert (activate["address"], activate["kept"]) == (str(NEW.private), "")
    assert activate["configuration"] == found["configuration"]


@pytest.mark.usefixtures("trusting", "proxies")
def test_what_was_done_is_not_done_again(
    transfers: Transfers, agents: DropletAgents, says: Callable[[AppServer], None]
) -> None:
    """HAProxy may give the droplet traffic by then."""
    found = missing()
    started = pairing(load_app(APP), RELEASE, found["configuration"], str(NEW.private))
    known = {
        "current": RELEASE,
        "activated": (healthy(RELEASE, found["configuration"], pairing=started.digest),),
        "files": {unit_path(load_app(APP)): started.unit_text},
    }
    says(facts(None, **known))
    result = task(found).execute(context(color_release=[found]))
    assert result == {"droplet": "green-2", "job_seconds": 0.0}
    assert (agents.sent, transfers.sent) == ([], [])
    for changed in ({"jobs": ("bluegreen-x",)}, {"activated": ()}, {"unit": Unit(ActiveState="failed")}):
        says(facts(None, **{**known, **changed}))
        assert task(found).execute(context(color_release=[found]))["job_seconds"] == 1.5


@pytest.mark.usefixtures("trusting", "proxies")
def test_without_the_artifact_or_with_another_environment_nothing_is_started(
    transfers: Transfers, agents: DropletAgents, store: ArtifactStore
) -> None:
    changed = missing("e" * 64)
    with pytest.raises(AirflowFailException, match=r"environment, or the files, that .* were changed"):
        task(changed).execute(context(color_release=[changed]))
    store._remove([f"{DIGEST}.tar.gz"])
    found = missing()
    with pytest.raises(
        AirflowFailException, match=r"the artifact store .* does not have the artifact of a+-d+"
    ):
        task(found).execute(context(color_release=[found]))
    assert (agents.sent, transfers.sent) == ([], [])


@pytest.mark.usefixtures("proxies")
def test_what_this_runs_own_task_has_not_found_is_not_started(agents: DropletAgents) -> None:
    found = missing()
    run = Run(first="color_release")
    lock = HeldLock(proxies=(LB,), tokens={"lb-1": 7})
    LockSeals(run.this, load_app(APP), lock).seal_result("", [found])
    run.xcoms["color_release", "return_value"] = [found]
    run.task_id = "install_release"
    with pytest.raises(AirflowFailException, match="color_release"):
        task({**found, "release": f"{'b' * 40}-{'1' * 16}"}).execute(run.context)
    run.xcoms["color_release", "return_value"] = [{**found, "configuration": "e" * 64}]
    with pytest.raises(AirflowFailException, match="the task color_release has not done this"):
        task({**found, "configuration": "e" * 64}).execute(run.context)
    assert agents.sent == []
