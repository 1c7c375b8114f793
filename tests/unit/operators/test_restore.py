"""A rollback starts exactly what was healthy on a droplet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators import restore
from bluegreen.settings.app_file import load_app
from tests.started import good
from tests.unit.artifacts import CONTENT, Transfers, kept
from tests.unit.artifacts import RELEASE as STORED
from tests.unit.droplet_agents import DropletAgents, ended
from tests.unit.fleets import GREEN
from tests.unit.runs import APP, LOCK, REVISION, context, plan

pytestmark = pytest.mark.usefixtures("trusting", "proxies")

RELEASE = f"{REVISION}-{'d' * 16}"
PAIRED = {"release": RELEASE, "configuration": "c" * 64}


def restore_task(**previous: Any) -> restore.RestoreOperator:
    task = restore.RestoreOperator(
        task_id="restore",
        app_id=APP,
        lock=LOCK,
        plan={**plan(Color.BLUE), "good": good(REVISION, "green-1", pairings={"green-1": "9" * 64})},
        revision=REVISION,
        ip=str(GREEN.public),
        previous={**PAIRED, "pairings": {"green-1": "e" * 64, "green-2": "f" * 64}, **previous},
    )
    assert isinstance(task, restore.RestoreOperator)
    return task


def test_what_was_healthy_on_that_droplet_is_started_and_sealed_whatever_the_settings_say_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents, run = DropletAgents(monkeypatch), context()
    assert restore_task().execute(run) == {"droplet": "green-1", "job_seconds": 1.5}
    [program] = [request["program"] for request in agents.requests if "program" in request]
    [step] = program["steps"]
    assert step["verb"] == "restore"
    started = {**PAIRED, "pairing": "e" * 64}
    assert step["request"] == {
        **started,
        "app": "app-my_perl_app",
        "unit": f"bluegreen-app-my_perl_app-{REVISION[:12]}",
        "kept": "9" * 64,
        "keep": 5,
    }
    sealed = run["ti"].said["done"]
    assert (sealed["droplet"], sealed["started"]) == ("green-1", started)


def test_what_was_started_instead_is_what_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry attaches to the job of this run that is there, whatever it was asked for."""
    agents, run = DropletAgents(monkeypatch), context()
    other = {**PAIRED, "configuration": "0" * 64, "pairing": "1" * 64}
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("success", restore=other)
    restore_task().execute(run)
    assert run["ti"].said["done"]["started"] == other


def test_a_job_that_does_not_answer_what_it_has_started_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents, run = DropletAgents(monkeypatch), context()
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("success", restore={"release": RELEASE})
    with pytest.raises(AirflowFailException, match="does not describe what restore started"):
        restore_task().execute(run)
    assert "done" not in run["ti"].said


def test_a_release_that_does_not_start_again_is_named_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = DropletAgents(monkeypatch)
    agents.answers["green-1", Verb.FOLLOW_JOB] = [
        {"lines": ["bluegreen: lib/Shop.pm is not as it was built"], "cursor": 1},
        *ended("failed", "exit-code"),
    ]
    with pytest.raises(AirflowFailException, match=r"lib/Shop.pm is not as it was built"):
        restore_task().execute(context())


def test_a_droplet_that_was_replaced_gets_the_release_from_the_artifact_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept(monkeypatch, tmp_path)
    agents, transfers, run = DropletAgents(monkeypatch), Transfers(monkeypatch), context()
    configuration = configuration_of(load_app(APP), {})["digest"]
    started = {"release": STORED, "configuration": configuration, "pairing": "e" * 64}
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("success", activate=started)
    about = {"release": STORED, "configuration": configuration, "from_store": ["green-1"]}
    restore_task(**about).execute(run)
    assert transfers.sent == [(f"{'d' * 64}.tar.gz", CONTENT)]
    [program] = [request["program"] for request in agents.requests if "program" in request]
    assert [one["verb"] for one in program["steps"]] == ["install", "load", "activate"]
    assert run["ti"].said["done"]["started"] == started
    # What was found may have been removed, or its secrets changed, since.
    with pytest.raises(AirflowFailException, match="were changed in Airflow since"):
        restore_task(**{**about, "configuration": "0" * 64}).execute(context())
