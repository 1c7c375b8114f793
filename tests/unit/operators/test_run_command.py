"""A one-off command: for those whom the app's file names, once, on a live droplet, and recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from agent.one_off import GONE
from agent.protocol import Verb
from bluegreen.checks.facts import AppServer
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks import remote_job
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.operators import report as report_module
from bluegreen.operators.run_check import RunCheckOperator
from bluegreen.operators.run_command import RunCommandOperator
from bluegreen.operators.support.asking_fleet import AsksFleet
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.this_run import COMMAND_KEY, ThisRun
from bluegreen.settings.app_file import load_app
from bluegreen.settings.policy import PolicySettings
from tests.unit.dag_files import REFERENCE, dags_of
from tests.unit.droplet_agents import DropletAgents, Refusal, ended
from tests.unit.fleets import BLUE, DIGEST, GREEN, LB, ONE_EACH, V1, facts, released
from tests.unit.runs import APP, context, report_of
from tests.unit.statuses import status

COMMAND = ["bin/reindex", "--all"]
SHOWN = "bin/reindex with 1 argument"
RAN = {"command": SHOWN, "began": 1764500000.25, "seconds": 3.0, "exit_status": 0}
SECOND = BLUE.model_copy(update={"id": 9, "name": "blue-2"})


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> DropletAgents:
    agents = DropletAgents(monkeypatch)
    agents.answers["blue-1", Verb.FOLLOW_JOB] = ended("success", run_command=RAN)
    return agents


class FleetOf:
    """A fleet of which everybody says what a test lets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        used = UsedConfiguration(digest=DIGEST)
        self.fleet = ONE_EACH
        self.proxy: Any = status("blue")
        self.servers: dict[Droplet, AppServer | BlueGreenError] = {
            BLUE: facts(configuration=used),
            GREEN: facts("b" * 40, configuration=used),
        }
        monkeypatch.setattr(BlueGreenOperator, "read_fleet", lambda *_, **__: self.fleet)
        monkeypatch.setattr(AsksFleet, "ask", lambda *_: ({LB: self.proxy}, self.servers))

    def with_two(self) -> None:
        self.fleet = ONE_EACH.model_copy(update={"blue": (BLUE, SECOND)})
        self.servers[SECOND] = facts(configuration=UsedConfiguration(digest=DIGEST))


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> FleetOf:
    return FleetOf(monkeypatch)


def run_by(user: str | None = "alice", command: Any = COMMAND, **changes: Any) -> Any:
    """Return the run of a user, in which each task sees what the one before has pushed."""
    run = context()
    vars(run["dag_run"]).update({"triggering_user_name": user, **changes})
    run["params"] = {"command": command}
    run["dag"].task_ids = ["run_check", "run_command", "report", "announce"]
    run["dag"].params = {"command": None, "reason": None}
    run["ti"].task_id, run["ti"].try_number = "run_check", 1
    run["ti"].xcom_pull = lambda task_ids, key, map_indexes: run["ti"].said.get(key)
    return run


def allowing(task: Any, *users: str) -> Any:
    app = load_app(APP).model_copy(update={"policy": PolicySettings(run=users or ("alice",))})
    task.__dict__["app"] = app
    return task


def check(run: Any) -> Any:
    return allowing(RunCheckOperator(task_id="run_check", app_id=APP)).execute(run)


def command(run: Any, target: Any) -> Any:
    run["ti"].task_id = "run_command"
    return task_of(target).execute(run)


def task_of(target: Any) -> Any:
    return allowing(RunCommandOperator(task_id="run_command", app_id=APP, target=target))


@pytest.mark.usefixtures("fleet")
def test_a_command_runs_on_a_live_droplet_in_what_its_service_runs(agents: DropletAgents) -> None:
    run = run_by()
    target = check(run)
    assert agents.sent == []
    found = command(run, target)
    assert (found["droplet"], found["command"]) == ("blue-1", SHOWN)
    assert found == run["ti"].said[COMMAND_KEY]
    assert agents.sent == [("blue-1", verb) for verb in (Verb.START_JOB, Verb.FOLLOW_JOB, Verb.END_JOB)]
    [start] = [one for one in agents.requests if "program" in one]
    [step] = start["program"]["steps"]
    request = step["request"]
    assert (step["verb"], request["command"], request["timeout"]) == ("run_command", COMMAND, 3600.0)
    assert (request["release"], request["configuration"]) == (released(V1), DIGEST)
    environment = f"/var/lib/bluegreen/app-{APP}/configurations/{DIGEST}/environment"
    assert f"EnvironmentFile={environment}" in request["properties"]
    # No lock, so no token: the droplet stays whose it is.
    assert agents.tokens == {0}
    assert start["unit"] == request["unit"]
    assert start["unit"].startswith(f"bluegreen-run-app-{APP}-")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("run", "why"),
    [
        (run_by("mallory"), "mallory may not run commands"),
        (run_by(None), "not triggered by a user"),
        (run_by("alice", clear_number=1), "this run was cleared"),
        (run_by("alice", run_type=DagRunType.SCHEDULED), "but is scheduled"),
        (run_by("alice", command="bin/x"), "no list of words"),
        (run_by("alice", conf={"comand": ["x"]}), "has no parameter comand"),
    ],
)
def test_nothing_is_asked_of_any_machine_for_a_run_that_is_refused(
    agents: DropletAgents, run: Any, why: str
) -> None:
    with pytest.raises(AirflowFailException, match=why):
        check(run)
    assert agents.sent == []


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("change", [{"triggering_user_name": "mallory"}, {"clear_number": 1}])
def test_the_task_that_runs_the_command_asks_again_who_wants_it(
    agents: DropletAgents, change: dict[str, Any]
) -> None:
    run = run_by()
    target = check(run)
    vars(run["dag_run"]).update(change)
    with pytest.raises(AirflowFailException, match="nothing was run"):
        command(run, target)
    assert agents.sent == []


@pytest.mark.usefixtures("fleet")
def test_a_target_that_was_changed_by_hand_runs_nothing(agents: DropletAgents) -> None:
    run = run_by()
    target = check(run)
    with pytest.raises(AirflowFailException, match="the task run_check has not found this"):
        command(run, {**target, "droplet": GREEN.model_dump(mode="json")})
    other = run_by(run_id="other")
    other["ti"].said.update(run["ti"].said)
    with pytest.raises(AirflowFailException, match="the task run_check has not found this"):
        command(other, target)
    assert agents.sent == []


def test_a_live_droplet_that_cannot_be_asked_is_passed_over(fleet: FleetOf) -> None:
    fleet.with_two()
    fleet.servers[BLUE] = BlueGreenError("blue-1 cannot be reached")
    assert check(run_by())["droplet"]["name"] == "blue-2"
    fleet.servers[SECOND] = facts(None)
    expected = (
        "no live droplet can run the command: blue-1 cannot be reached; blue-2 .* does not run a release"
    )
    with pytest.raises(AirflowFailException, match=expected):
        check(run_by())


@pytest.mark.parametrize("proxy", [status(None), BlueGreenError("lb-1 cannot be reached")])
def test_a_command_needs_a_live_color(fleet: FleetOf, proxy: Any) -> None:
    fleet.proxy = proxy
    with pytest.raises(AirflowFailException, match="which color is live; nothing was run"):
        check(run_by())


def failing(agents: DropletAgents, *lines: str) -> None:
    """Let the command fail after these lines."""
    [_, end] = ended("failed", "exit-code", 1, run_command={**RAN, "exit_status": 3})
    agents.answers["blue-1", Verb.FOLLOW_JOB] = [{"lines": list(lines), "cursor": 9}, end]


@pytest.mark.usefixtures("fleet")
def test_the_exit_status_of_the_command_is_the_end_of_the_run_and_recorded(agents: DropletAgents) -> None:
    failing(agents, "no such index", f"bluegreen: {SHOWN} ended with 3: no such index")
    run = run_by()
    target = check(run)
    with pytest.raises(AirflowFailException, match=rf"blue-1 .*: {SHOWN} ended with 3: no such index"):
        command(run, target)
    assert run["ti"].said[COMMAND_KEY]["ran"]["exit_status"] == 3
    assert agents.sent[-1] == ("blue-1", Verb.END_JOB)


@pytest.mark.usefixtures("fleet")
def test_a_command_whose_droplet_stays_away_is_not_run_a_second_time(
    agents: DropletAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_job, "RECONNECT_SECONDS", -1.0)
    monkeypatch.setattr(remote_job, "RECONNECT_INTERVAL", 0.0)
    agents.answers["blue-1", Verb.FOLLOW_JOB] = DropletUnreachableError("blue-1 cannot be reached")
    run = run_by()
    target = check(run)
    with pytest.raises(AirflowFailException, match="it is not known how far the command came"):
        command(run, target)


@pytest.mark.usefixtures("fleet")
def test_a_command_that_did_not_begin_is_tried_again(agents: DropletAgents) -> None:
    agents.answers["blue-1", Verb.START_JOB] = DropletUnreachableError("blue-1 cannot be reached")
    run = run_by()
    target = check(run)
    with pytest.raises(AirflowException) as failed:
        command(run, target)
    assert not isinstance(failed.value, AirflowFailException)


@pytest.mark.usefixtures("fleet")
def test_a_command_that_is_gone_is_not_taken_for_done(agents: DropletAgents) -> None:
    agents.answers["blue-1", Verb.FOLLOW_JOB] = ended("missing")
    run = run_by()
    target = check(run)
    with pytest.raises(AirflowFailException, match="the command is gone"):
        command(run, target)


@pytest.mark.usefixtures("fleet")
def test_a_second_try_whose_command_is_gone_says_so_and_is_not_tried_again(agents: DropletAgents) -> None:
    agents.answers["blue-1", Verb.START_JOB] = Refusal(GONE)
    run = run_by()
    target = check(run)
    run["ti"].try_number = 2
    with pytest.raises(AirflowFailException, match=r"blue-1 .*: the command is gone.*not started again"):
        command(run, target)
    assert COMMAND_KEY not in run["ti"].said


@pytest.mark.usefixtures("fleet")
def test_a_second_try_reports_the_exit_status_of_a_command_whose_output_is_gone(
    agents: DropletAgents,
) -> None:
    ran = {**RAN, "exit_status": 3}
    agents.answers["blue-1", Verb.FOLLOW_JOB] = ended("failed", "exit-code", 1, run_command=ran)
    run = run_by()
    target = check(run)
    run["ti"].try_number = 2
    expected = rf"blue-1 .*: {SHOWN} ended with 3 after 3 s on blue-1 .*see the log of the earlier try"
    with pytest.raises(AirflowFailException, match=expected):
        command(run, target)
    assert run["ti"].said[COMMAND_KEY]["ran"]["exit_status"] == 3
    agents.answers["blue-1", Verb.FOLLOW_JOB] = ended("failed", "signal", 1)
    with pytest.raises(AirflowFailException, match="its job ended with signal"):
        command(run, target)


@pytest.mark.usefixtures("fleet")
def test_whoever_marks_the_run_failed_ends_the_command(agents: DropletAgents) -> None:
    run = run_by()
    target = check(run)
    task = task_of(target)
    task.on_kill()
    assert agents.sent == []
    run["ti"].task_id = "run_command"
    task.execute(run)
    agents.sent.clear()
    task.on_kill()
    assert agents.sent == [("blue-1", Verb.END_JOB)]
    agents.answers["blue-1", Verb.END_JOB] = Refusal("no answer")
    task.on_kill()


def test_the_ledger_names_who_ran_what(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Any] = []

    def record(line: dict[str, Any]) -> dict[str, str]:
        recorded.append(line)
        return {}

    hook = SimpleNamespace(record=record, close=lambda: None)
    monkeypatch.setattr(BlueGreenOperator, "read_fleet", lambda *_, **__: ONE_EACH)
    monkeypatch.setattr(report_module, "ProxiesHook", lambda *_: hook)
    ran = {"droplet": "blue-1", "release": released(V1), "command": SHOWN, "ran": None}
    run = context({"run_check": "success", "run_command": "success"}, run_command__command=ran)
    assert not ThisRun(run).is_dry_run
    report_of(run, good=True, subject=f"command {SHOWN}", needs_confirmation=False)
    [line] = recorded
    assert (line["triggered_by"], line["command"]["command"]) == ("alice", SHOWN)
    assert (line["outcome"], line["subject"]) == ("done", f"command {SHOWN}")


def test_only_an_app_that_names_users_has_the_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    (tmp_path / "apps").mkdir()
    with_users = text.replace("\npolicy:\n", "\npolicy:\n  run: [alice]\n")
    dags = dags_of(tmp_path / "apps", monkeypatch, shop=with_users, forum=text)
    dag = dags["bluegreen_run__shop"]
    assert set(dag.task_ids) == {"run_check", "run_command", "report", "announce"}
    assert "bluegreen_run__forum" not in dags
    with pytest.raises(ValueError, match="command"):
        dag.params.validate()
    for task_id in ("report", "announce"):
        task: Any = dag.get_task(task_id)
        about = {
            "params": {"command": ["bin/reset", "s3cret"]},
            "ti": SimpleNamespace(xcom_pull=lambda **_: None),
        }
        assert task.render_template(task.subject, about) == "command bin/reset with 1 argument"
