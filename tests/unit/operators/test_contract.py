"""The contract phase of a migration: by hand, on an idle droplet, and no way back after it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators.contract import ContractOperator
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
from tests.unit.runs import APP, LOCK, REVISION, context
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


def task_of() -> ContractOperator:
    task = ContractOperator(task_id="contract", app_id=APP, lock=LOCK)
    asked = MigrationSettings(contract=COMMANDS, keep_warm=3600)
    task.__dict__["app"] = load_app(APP).model_copy(update={"migrations": asked})
    assert isinstance(task, ContractOperator)
    return task


def run_with(**params: Any) -> Any:
    run = context()
    run["params"] = params
    return run


def test_the_live_release_is_installed_on_an_idle_droplet_and_its_commands_run_there(
    agents: DropletAgents, proxies: Any, transfers: Transfers
) -> None:
    live_since(proxies, 4000)
    run = run_with(i_know=False)
    found = task_of().execute(run)
    assert (found["phase"], found["droplet"]) == ("contract", "green-1")
    assert found == run["ti"].said[MIGRATION_KEY]
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


@pytest.mark.parametrize("i_know", [False, True])
def test_a_contract_while_the_release_from_before_may_be_needed_takes_somebody_who_knows(
    agents: DropletAgents, proxies: Any, i_know: bool
) -> None:
    live_since(proxies, 60)
    if i_know:
        assert task_of().execute(run_with(i_know=True))["ran"]
        return
    expected = rf"green has {'b' * 12} to go back to for 3600 s .* set `i_know`; nothing was run"
    with pytest.raises(AirflowFailException, match=expected):
        task_of().execute(run_with(i_know=False))
    assert agents.sent == []


def test_an_undecided_switch_is_no_matter_of_knowing(agents: DropletAgents, proxies: Any) -> None:
    live_since(proxies, 4000, confirmed=None)
    with pytest.raises(AirflowFailException, match="was not confirmed everywhere"):
        task_of().execute(run_with(i_know=True))
    assert agents.sent == []


def test_a_color_that_may_get_traffic_back_is_left_alone(agents: DropletAgents, proxies: Any) -> None:
    live_since(proxies, 4000)
    proxies.require_idle.side_effect = ProxyError("green may get it back", code="not_idle")
    with pytest.raises(AirflowFailException, match="green may get it back"):
        task_of().execute(run_with())
    assert agents.sent == []


def test_only_an_app_with_a_contract_has_its_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    with_one = text.replace("\nmigrations:\n", "\nmigrations:\n  contract: [[sqitch, deploy]]\n")
    (tmp_path / "apps").mkdir()
    dags = dags_of(tmp_path / "apps", monkeypatch, shop=with_one, forum=text)
    assert set(dags["bluegreen_contract__shop"].task_ids) == {"lock", "contract", "report", "announce"}
    assert "bluegreen_contract__forum" not in dags
