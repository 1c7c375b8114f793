"""A rollback starts a release with what it was healthy with."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.operators import restore
from tests.unit.droplet_agents import DropletAgents, ended
from tests.unit.fleets import GREEN
from tests.unit.runs import APP, LOCK, REVISION, context, plan

pytestmark = pytest.mark.usefixtures("trusting", "proxies")

RELEASE = f"{REVISION}-{'d' * 16}"


def restore_task() -> restore.RestoreOperator:
    task = restore.RestoreOperator(
        task_id="restore",
        app_id=APP,
        lock=LOCK,
        plan=plan(Color.BLUE),
        revision=REVISION,
        ip=str(GREEN.public),
        previous={"release": RELEASE, "configurations": {"green-1": "c" * 64}},
    )
    assert isinstance(task, restore.RestoreOperator)
    return task


def test_it_is_loaded_and_activated_with_the_configuration_of_that_droplet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents = DropletAgents(monkeypatch)
    assert restore_task().execute(context()) == {"droplet": "green-1", "job_seconds": 1.5}
    [program] = [request["program"] for request in agents.requests if "program" in request]
    assert [one["verb"] for one in program["steps"]] == ["load", "activate"]
    assert program["steps"][1]["request"]["configuration"] == "c" * 64
    assert program["steps"][1]["request"]["release"] == RELEASE


def test_a_release_that_does_not_start_again_is_named_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = DropletAgents(monkeypatch)
    agents.answers["green-1", Verb.FOLLOW_JOB] = [
        {"lines": ["bluegreen: lib/Shop.pm is not as it was built"], "cursor": 1},
        *ended("failed", "exit-code"),
    ]
    with pytest.raises(AirflowFailException, match=r"lib/Shop.pm is not as it was built"):
        restore_task().execute(context())
