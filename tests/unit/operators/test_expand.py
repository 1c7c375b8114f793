"""The expand phase of a migration: once, on one idle droplet, with the new release, before traffic moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.operators.expand import ExpandOperator
from bluegreen.operators.support.this_run import MIGRATION_KEY
from bluegreen.run.plan import Plan
from bluegreen.run.seal import sealed
from bluegreen.settings.app_file import load_app
from bluegreen.settings.migrations import MigrationSettings
from tests.unit.artifacts import RELEASE, Transfers, built, kept
from tests.unit.dag_files import REFERENCE, dags_of
from tests.unit.droplet_agents import DropletAgents, Refusal, ended
from tests.unit.fleets import GREEN, ONE_EACH, droplet
from tests.unit.runs import APP, LOCK, LOST, REVISION, TOKEN, context, report_of
from tests.unit.statuses import status_at_end

pytestmark = pytest.mark.usefixtures("trusting")

TWO = ONE_EACH.model_copy(update={"green": (GREEN, droplet(4, "green-2"))})
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=TWO).model_dump(mode="json")
COMMANDS = [["bin/one"], ["bin/two"]]
ONE = {"command": "bin/one", "began": 1764500000.25, "seconds": 3.04, "exit_status": 0}
TWO_FAILED = {"command": "bin/two", "began": 1764500003.5, "seconds": 1.0, "exit_status": 3}
CAUSE = "bluegreen: expand: bin/two ended with 3: no such table"


@pytest.fixture(autouse=True)
def transfers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Transfers:
    kept(monkeypatch, tmp_path_factory.mktemp("store"))
    return Transfers(monkeypatch)


def task_of() -> ExpandOperator:
    task = ExpandOperator(
        task_id="expand", app_id=APP, lock=LOCK, plan=PLAN, revision=REVISION, built=built()
    )
    asked = MigrationSettings(expand=COMMANDS, timeout=60)
    task.__dict__["app"] = load_app(APP).model_copy(update={"migrations": asked})
    assert isinstance(task, ExpandOperator)
    return task


def answering(monkeypatch: pytest.MonkeyPatch, *end: dict[str, Any], **refused: Any) -> DropletAgents:
    """Droplets whose job ends so."""
    agents = DropletAgents(monkeypatch)
    agents.answers["green-1", Verb.FOLLOW_JOB] = list(end)
    agents.answers |= {("green-1", Verb(name)): answer for name, answer in refused.items()}
    return agents


@pytest.mark.usefixtures("proxies")
def test_the_commands_run_once_on_the_first_idle_droplet_as_the_new_release_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents = answering(monkeypatch, *ended("success", migrate={"ran": [ONE]}))
    task_of().execute(context())
    assert {name for name, _ in agents.sent} == {"green-1"}
    [wanted] = [one for one in agents.requests if "program" in one]
    assert (wanted["unit"], wanted["token"]) == (f"bluegreen-app-{APP}-expand-{REVISION[:12]}", TOKEN)
    assert wanted["timeout"] >= 2 * (60 + 10)
    steps = wanted["program"]["steps"]
    # Installed and loaded, and not started.
    assert [step["verb"] for step in steps] == ["install", "load", "migrate"]
    assert {(step["request"]["unit"], step["request"]["release"]) for step in steps} == {
        (wanted["unit"], RELEASE)
    }
    request = steps[-1]["request"]
    assert request["commands"] == COMMANDS
    properties = request["properties"]
    assert "NoNewPrivileges=yes" in properties
    assert f"WorkingDirectory=/opt/app-{APP}/releases/{RELEASE}" in properties
    assert [one for one in properties if one.startswith("EnvironmentFile=/var/lib/bluegreen/")]


@pytest.mark.usefixtures("proxies")
def test_what_ran_and_when_is_known_whether_it_succeeded_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, *ended("success", migrate={"ran": [ONE]}))
    run = context()
    found = task_of().execute(run)
    assert found == run["ti"].said[MIGRATION_KEY]["migration"]
    assert (found["phase"], found["droplet"]) == ("expand", "green-1")
    [ran] = found["ran"]
    assert ran == {**ONE, "began": "2025-11-30T10:53:20.250000Z", "seconds": 3.0}
    failed = ended("failed", "exit-code", 1, migrate={"ran": [ONE, TWO_FAILED]})
    answering(monkeypatch, {"lines": [CAUSE], "cursor": 1}, *failed)
    run = context()
    with pytest.raises(AirflowFailException) as raised:
        task_of().execute(run)
    assert str(raised.value) == f"{GREEN.label}: expand: bin/two ended with 3: no such table"
    statuses = [
        (one["command"], one["exit_status"]) for one in run["ti"].said[MIGRATION_KEY]["migration"]["ran"]
    ]
    assert statuses == [("bin/one", 0), ("bin/two", 3)]


@pytest.mark.parametrize(
    "answers",
    [{}, {"migrate": []}, {"migrate": {"ran": 7}}, {"migrate": {"ran": [{"command": "x", "began": "y"}]}}],
)
@pytest.mark.usefixtures("proxies")
def test_a_droplet_that_cannot_say_what_ran_does_not_make_a_good_migration_a_failed_one(
    monkeypatch: pytest.MonkeyPatch, answers: Any
) -> None:
    answering(monkeypatch, *ended("success", **answers))
    assert task_of().execute(context())["ran"] == []


@pytest.mark.usefixtures("proxies")
def test_a_job_that_vanished_may_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, *ended("missing"))
    with pytest.raises(AirflowException, match=r"its expand job is gone") as raised:
        task_of().execute(context())
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.usefixtures("proxies")
def test_a_job_that_succeeded_is_there_for_a_retry_and_one_that_failed_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents = answering(monkeypatch, *ended("success", migrate={"ran": [ONE]}))
    task_of().execute(context())
    assert ("green-1", Verb.END_JOB) not in agents.sent
    agents = answering(monkeypatch, *ended("failed", "exit-code", 1), end_job=Refusal("no"))
    with pytest.raises(AirflowFailException, match="its expand job ended with exit-code"):
        task_of().execute(context())
    assert ("green-1", Verb.END_JOB) in agents.sent


def test_nothing_runs_once_the_color_has_the_traffic(monkeypatch: pytest.MonkeyPatch, proxies: Any) -> None:
    proxies.require_idle.side_effect = ProxyError("green has the traffic", code="not_idle")
    agents = answering(monkeypatch)
    with pytest.raises(AirflowFailException, match="green has the traffic"):
        task_of().execute(context())
    assert agents.sent == []


def test_the_lock_is_kept_while_the_commands_run(monkeypatch: pytest.MonkeyPatch, proxies: Any) -> None:
    answering(monkeypatch, {"lines": ["a line"], "cursor": 1}, *ended("success"))
    task_of().execute(context())
    assert proxies.renew_in_time.call_count >= 2


def test_a_task_that_is_marked_failed_ends_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = answering(monkeypatch)
    task_of().on_kill()
    assert agents.sent == [("green-1", Verb.END_JOB)]
    answering(monkeypatch, end_job=LOST)
    task_of().on_kill()


def deploy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> DAG:
    text = REFERENCE.read_text(encoding="utf-8").replace("\nmigrations:\n", f"\nmigrations: {written}\n")
    return dags_of(tmp_path, monkeypatch, shop=text)["bluegreen_deploy__shop"]


def test_an_app_without_migrations_has_no_task_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "expand" not in deploy_of(tmp_path, monkeypatch, "{timeout: 60}").task_ids


def test_no_droplet_starts_the_new_release_before_its_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = deploy_of(tmp_path, monkeypatch, "{expand: [[sqitch, deploy]]}")
    expand, deploy = dag.get_task("expand"), dag.get_task("deploy")
    assert expand.downstream_task_ids == {"deploy"}
    assert {expand.trigger_rule, deploy.trigger_rule} == {"all_success"}


UNIT = f"bluegreen-app-{APP}-expand-{REVISION[:12]}"


def ended_run(
    state: str, key: bytes = b"a key", run_id: str = "run", commands: tuple[Any, ...] = (ONE, TWO_FAILED)
) -> Any:
    """A run whose task ``expand`` has ended so, and has left what ran under a seal."""
    ran = [{**one, "began": "2025-11-30T10:53:20Z"} for one in commands]
    about = {"run": f"deploy/{run_id}", "unit": UNIT, "droplet": GREEN.model_dump(mode="json")}
    migration = {"phase": "expand", "droplet": "green-1", "ran": ran}
    left = sealed(key, {**about, "migration": migration})
    return context(
        {"expand": state}, lock=LOCK, expand__migration=left, expand__error="green-1: no such table"
    )


@pytest.mark.parametrize("forged", [{"key": b"another key"}, {"run_id": "another"}])
def test_what_was_put_into_an_xcom_by_hand_is_not_reported(proxies: Any, forged: dict[str, Any]) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = ended_run("failed", **forged)
    assert "expand ran" not in report_of(run)
    assert "migration" not in run["ti"].said["report"]["record"]


def test_the_traces_of_a_good_migration_are_removed_once_its_run_has_ended(
    monkeypatch: pytest.MonkeyPatch, proxies: Any
) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    agents = answering(monkeypatch)
    report_of(ended_run("success"))
    assert agents.sent == [("green-1", Verb.END_JOB)]
    assert (agents.requests[-1]["unit"], agents.requests[-1]["token"]) == (UNIT, TOKEN)
    # A failed one has removed its own.
    agents = answering(monkeypatch)
    report_of(ended_run("failed"))
    assert agents.sent == []
    # What cannot be removed changes nothing about how the run ends.
    answering(monkeypatch, end_job=LOST)
    assert "expand ran bin/one" in report_of(ended_run("success"))


@pytest.mark.usefixtures("proxies")
def test_where_the_commands_run_is_known_before_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, start_job=LOST)
    run = context()
    with pytest.raises(AirflowException):
        task_of().execute(run)
    left = run["ti"].said[MIGRATION_KEY]
    assert (left["unit"], left["droplet"]["name"], left["migration"]["ran"]) == (UNIT, "green-1", [])


# Airflow calls a task skipped whose process died before its run was marked failed.
@pytest.mark.parametrize("state", ["failed", "skipped"])
def test_a_migration_whose_task_died_for_good_ends_before_the_lock_is_released(
    monkeypatch: pytest.MonkeyPatch, proxies: Any, state: str
) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    agents = answering(monkeypatch)
    proxies.unlock.side_effect = lambda: agents.sent.append(("lb-1", Verb.UNLOCK))
    message = report_of(ended_run(state, commands=()))
    assert agents.sent == [("green-1", Verb.END_JOB), ("lb-1", Verb.UNLOCK)]
    assert (agents.requests[-1]["unit"], agents.requests[-1]["token"]) == (UNIT, TOKEN)
    assert message.endswith("; expand had begun on green-1")


@pytest.mark.parametrize("state", ["skipped", "upstream_failed"])
def test_what_ran_before_the_run_was_cleared_is_not_reported_again(
    monkeypatch: pytest.MonkeyPatch, proxies: Any, state: str
) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    agents = answering(monkeypatch)
    run = ended_run(state)
    assert "expand" not in report_of(run)
    assert "migration" not in run["ti"].said["report"]["record"]
    assert agents.sent == []


def test_report_and_ledger_say_what_ran(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.BLUE)}
    run = ended_run("failed")
    message = report_of(run)
    assert message.startswith("deploy of v2: refused before the switch: green-1: no such table;")
    assert message.endswith("; expand ran bin/one (3 s) on green-1")
    assert run["ti"].said["report"]["record"]["migration"]["ran"][1]["exit_status"] == 3
