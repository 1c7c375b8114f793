"""The contract phase of a migration: by hand, on an idle droplet, and no way back after it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators.contract import ContractOperator
from bluegreen.operators.contract_check import ContractCheckOperator
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.this_run import MIGRATION_KEY
from bluegreen.settings.app_file import load_app
from bluegreen.settings.migrations import MigrationSettings
from bluegreen.traffic.agent_answers import Confirmed, GoodRelease
from tests.started import good
from tests.unit.artifacts import DIGEST, RELEASE, Transfers, kept
from tests.unit.dag_files import REFERENCE, dags_of
from tests.unit.droplet_agents import DropletAgents, ended
from tests.unit.fleets import ONE_EACH
from tests.unit.runs import APP, LOCK, REVISION, context, report_of
from tests.unit.statuses import status_at_end

COMMANDS = [["sqitch", "deploy", "--to", "contract"]]
RAN = {"command": "sqitch deploy", "began": 1764500000.25, "seconds": 3.0, "exit_status": 0}


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def transfers(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    return Transfers(monkeypatch)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> DropletAgents:
    agents = DropletAgents(monkeypatch)
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("success", migrate={"ran": [RAN]})
    monkeypatch.setattr(BlueGreenOperator, "read_fleet", lambda *_: ONE_EACH)
    return agents


def live_since(proxies: Any, seconds: float, **changes: Any) -> None:
    """Let blue be live, with the artifact of the store, and green have another release to go back to."""
    digest = configuration_of(load_app(APP), {})["digest"]
    blue = {**good(REVISION, "blue-1"), "release": RELEASE, "configuration": digest}
    known = {Color.BLUE: GoodRelease.model_validate(blue), Color.GREEN: good("b" * 40, "green-1")}
    known[Color.GREEN] = GoodRelease.model_validate(known[Color.GREEN])
    status: SimpleNamespace = status_at_end(Color.BLUE)
    confirmed = Confirmed(color=Color.BLUE, revision=REVISION, at=5000.0 - seconds)
    about = {"now": 5000.0, "good": known, "pending": None, "confirmed": confirmed}
    vars(status).update({**about, **changes})
    proxies.statuses.return_value = {"lb-1": status}


def settings_with_contract(task: Any) -> Any:
    asked = MigrationSettings(contract=COMMANDS, keep_warm=3600)
    task.__dict__["app"] = load_app(APP).model_copy(update={"migrations": asked})
    return task


def check(run: Any) -> Any:
    """Run the task ``contract_check``, and return what it found."""
    task = settings_with_contract(ContractCheckOperator(task_id="contract_check", app_id=APP, lock=LOCK))
    return task.execute(run)


def task_of(target: Any) -> Any:
    return settings_with_contract(ContractOperator(task_id="contract", app_id=APP, lock=LOCK, target=target))


def run_with(try_number: int = 1, **params: Any) -> Any:
    run = context()
    run["params"] = params
    run["ti"].task_id, run["ti"].try_number = "contract", try_number
    return run


@pytest.mark.usefixtures("trusting")
def test_the_live_release_is_installed_on_an_idle_droplet_and_its_commands_run_there(
    agents: DropletAgents, proxies: Any, transfers: Transfers
) -> None:
    live_since(proxies, 4000)
    target, run = check(run_with()), run_with()
    found = task_of(target).execute(run)
    assert (found["phase"], found["droplet"]) == ("contract", "green-1")
    assert run["ti"].said[MIGRATION_KEY]["migration"] == found
    proxies.note_contract.assert_called_once_with()
    assert {name for name, _ in agents.sent} == {"green-1"}
    assert [name for name, _ in transfers.sent] == [f"{DIGEST}.tar.gz"]
    [program] = [one["program"] for one in agents.requests if "program" in one]
    install, migrate = program["steps"]
    assert (install["verb"], migrate["verb"]) == ("install", "migrate")
    unit = f"bluegreen-app-{APP}-contract-{REVISION[:12]}"
    assert {one["request"]["unit"] for one in program["steps"]} == {unit}
    assert {one["request"]["release"] for one in program["steps"]} == {RELEASE}
    assert (migrate["request"]["phase"], migrate["request"]["commands"]) == ("contract", COMMANDS)
    proxies.require_idle.assert_called_once_with(Color.GREEN)


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize("i_know", [False, True])
def test_a_contract_while_the_release_from_before_may_be_needed_takes_somebody_who_knows(
    proxies: Any, i_know: bool
) -> None:
    live_since(proxies, 60)
    if i_know:
        assert check(run_with(i_know=True))["release"] == RELEASE
        return
    expected = rf"green has {'b' * 12} to go back to for 3600 s .* set `i_know`; nothing was run"
    with pytest.raises(AirflowFailException, match=expected):
        check(run_with(i_know=False))


@pytest.mark.usefixtures("agents")
def test_an_undecided_switch_is_no_matter_of_knowing(proxies: Any) -> None:
    live_since(proxies, 4000, confirmed=None)
    with pytest.raises(AirflowFailException, match="was not confirmed everywhere"):
        check(run_with(i_know=True))
    live_since(proxies, 4000, known_live=None, live=None)
    with pytest.raises(AirflowFailException, match="nothing is live"):
        check(run_with(i_know=True))


@pytest.mark.usefixtures("trusting")
def test_a_color_that_may_get_traffic_back_is_left_alone(agents: DropletAgents, proxies: Any) -> None:
    live_since(proxies, 4000)
    target = check(run_with())
    proxies.require_idle.side_effect = ProxyError("green may get it back", code="not_idle")
    with pytest.raises(AirflowFailException, match="green may get it back"):
        task_of(target).execute(run_with())
    assert agents.sent == []


@pytest.mark.usefixtures("trusting")
def test_the_app_on_the_idle_droplet_is_not_stopped_to_make_room(
    agents: DropletAgents, proxies: Any, transfers: Transfers
) -> None:
    live_since(proxies, 4000)
    transfers.refused = BlueGreenError("no space left")
    with pytest.raises(AirflowFailException, match="no space left"):
        task_of(check(run_with())).execute(run_with())
    assert agents.sent == []


@pytest.mark.usefixtures("agents")
def test_a_target_that_was_changed_by_hand_is_not_contracted(proxies: Any) -> None:
    live_since(proxies, 4000)
    found = run_with()
    target = check(found)
    run = run_with()
    run["dag"].task_ids = ["contract_check", "contract"]
    run["ti"].xcom_pull = lambda task_ids, key, map_indexes: found["ti"].said.get(key)
    other = {**target, "droplet": {**target["droplet"], "name": "green-9"}}
    with pytest.raises(AirflowFailException, match="the task contract_check has not done this"):
        task_of(other).execute(run)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("try_number", [1, 2])
def test_a_contract_that_fails_before_its_job_is_not_written_down(
    agents: DropletAgents, proxies: Any, try_number: int
) -> None:
    live_since(proxies, 4000)
    target = check(run_with())
    proxies.require_idle.side_effect = ProxyError("green may get it back", code="not_idle")
    with pytest.raises(AirflowFailException):
        task_of(target).execute(run_with(try_number))
    proxies.note_contract.assert_not_called()
    assert agents.sent == []


@pytest.mark.usefixtures("trusting", "transfers")
def test_nothing_runs_before_every_proxy_has_written_the_contract_down(
    agents: DropletAgents, proxies: Any
) -> None:
    live_since(proxies, 4000)
    target = check(run_with())
    proxies.note_contract.side_effect = ProxyError("lb-1: its disk is full", code="failed")
    with pytest.raises(AirflowFailException, match="its disk is full"):
        task_of(target).execute(run_with())
    assert not any("program" in one for one in agents.requests)


@pytest.mark.usefixtures("trusting")
def test_commands_that_have_ended_are_not_run_again_by_a_retry(agents: DropletAgents, proxies: Any) -> None:
    live_since(proxies, 4000)
    task_of(check(run_with())).execute(run_with())
    assert ("green-1", Verb.END_JOB) not in agents.sent


def test_only_an_app_with_a_contract_has_its_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    with_one = text.replace("\nmigrations:\n", "\nmigrations:\n  contract: [[sqitch, deploy]]\n")
    (tmp_path / "apps").mkdir()
    dags = dags_of(tmp_path / "apps", monkeypatch, shop=with_one, forum=text)
    assert set(dags["bluegreen_contract__shop"].task_ids) == {
        "lock",
        "contract_check",
        "contract",
        "report",
        "announce",
    }
    assert "bluegreen_contract__forum" not in dags


@pytest.mark.parametrize("has_begun", [True, False])
def test_the_ledger_says_whether_a_contract_may_have_run(proxies: Any, has_begun: bool) -> None:
    status = status_at_end(Color.BLUE)
    status.lock.contracts = has_begun
    proxies.statuses.return_value = {"lb-1": status}
    run = context({"contract": "failed"}, lock=LOCK, contract__error="green-1: no such column")
    report_of(run, subject="contract", needs_confirmation=False)
    assert ("contracted" in run["ti"].said["report"]["record"]) is has_begun
