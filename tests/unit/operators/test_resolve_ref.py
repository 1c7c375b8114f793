"""From a ref to a revision, and the choice between a deploy and a dry run."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
    DownstreamTasksSkipped,
)

from bluegreen.errors import RefError
from bluegreen.operators import resolve_ref
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.source.access import Access
from bluegreen.source.policy import Allowed
from tests.unit.runs import APP, REVISION, context

FOUND = Allowed("v2", REVISION, "branch main", commit="Fix the cart")

pytestmark = pytest.mark.usefixtures("trusting")


def resolve(dry_run: bool, run: Any = None, ref: str = "v2", artifact: str | None = None) -> None:
    known = {"ref": "main", "dry_run": False, "artifact": artifact}
    with DAG("deploy", schedule=None, params=known) as dag:
        task = resolve_ref.ResolveRefOperator(
            task_id="resolve_ref", app_id=APP, begins_deploy="lock", begins_dry_run="check", ref=ref
        )
        task >> [EmptyOperator(task_id="lock"), EmptyOperator(task_id="check")]
    run = run or context()
    run["ti"].map_index = -1
    task.execute(run | {"dag": dag, "params": {"dry_run": dry_run, "artifact": artifact}})


@pytest.mark.parametrize(("dry_run", "skipped"), [(False, "check"), (True, "lock")])
def test_a_run_is_a_deploy_or_a_dry_run(monkeypatch: pytest.MonkeyPatch, dry_run: bool, skipped: str) -> None:
    monkeypatch.setattr(resolve_ref, "resolve", lambda _app, ref, **_: FOUND)
    run = context()
    with pytest.raises(DownstreamTasksSkipped) as skip:
        resolve(dry_run, run)
    assert list(skip.value.tasks) == [skipped]
    assert (run["ti"].said["return_value"], run["ti"].said["commit"]) == (REVISION, "Fix the cart")


def test_a_deploy_with_a_parameter_that_there_is_not_ends_at_its_first_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolve_ref, "resolve", lambda _app, ref, **_: Allowed(ref, REVISION, "branch main"))
    run = context()
    run["dag_run"].conf = {"ref": "v2", "dryrun\n": True}
    with pytest.raises(
        AirflowFailException, match=r"deploy has no parameter dryrun\?; it has: ref, dry_run, artifact"
    ):
        resolve(False, run)


def test_a_ref_that_is_not_there_is_one_finding_of_a_dry_run_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_app: App, _ref: str, **_: Any) -> Allowed:
        raise RefError("there is no branch or tag 'v2'")

    monkeypatch.setattr(resolve_ref, "resolve", unknown)
    with pytest.raises(DownstreamTasksSkipped) as skip:
        resolve(dry_run=True)
    assert list(skip.value.tasks) == ["lock"]
    with pytest.raises(AirflowFailException, match="no branch or tag"):
        resolve(dry_run=False)


def test_the_repository_is_read_with_the_apps_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    accesses: list[Access] = []

    def seen(_app: App, ref: str, *, access: Access) -> Allowed:
        accesses.append(access)
        return Allowed(ref, REVISION, "branch main")

    monkeypatch.setattr(resolve_ref, "resolve", seen)
    made = json.dumps({"conn_type": "git", "password": "a token"})
    monkeypatch.setenv("AIRFLOW_CONN_FORGE", made)
    app = load_app(APP)
    connections = app.connections.model_copy(update={"repository": "forge"})
    app = app.model_copy(update={"connections": connections})
    monkeypatch.setattr(resolve_ref.ResolveRefOperator, "app", app)
    with pytest.raises(DownstreamTasksSkipped):
        resolve(False)
    assert [access.name for access in accesses] == ["forge"]


@pytest.mark.parametrize("ref", ["", "v2"])
def test_an_artifact_is_of_the_revision_that_it_names_if_that_may_be_deployed(
    monkeypatch: pytest.MonkeyPatch, ref: str
) -> None:
    asked: list[str] = []

    def allowed(_app: App, ref: str, **_: Any) -> Allowed:
        asked.append(ref)
        return Allowed(ref, REVISION, "branch main")

    claimed = SimpleNamespace(revision=REVISION)
    monkeypatch.setattr(resolve_ref, "resolve", allowed)
    monkeypatch.setattr(resolve_ref, "manifest_of_incoming", lambda _app, _sha256: claimed)
    run = context()
    with pytest.raises(DownstreamTasksSkipped):
        resolve(False, run, ref=ref, artifact="c" * 64)
    assert asked == [ref or REVISION]
    assert run["ti"].said["return_value"] == REVISION
    claimed.revision = "b" * 40
    if ref:
        with pytest.raises(AirflowFailException, match=r"the artifact is of b{12}, not of a{12}"):
            resolve(False, ref=ref, artifact="c" * 64)


def test_a_deploy_needs_a_ref_or_an_artifact() -> None:
    with pytest.raises(AirflowFailException, match="nothing says what to deploy"):
        resolve(False, ref="")
