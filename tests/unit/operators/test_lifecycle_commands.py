"""An app's own commands: when they run, where, with what, and what their failure means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from structlog.testing import capture_logs

from agent.protocol import Code, Verb
from bluegreen.agent_bundle import AGENT_DIRECTORY
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import lifecycle_commands as command_hooks
from bluegreen.release.lifecycle_commands import command_program, hook_unit
from bluegreen.run.plan import Plan
from bluegreen.settings.app_file import load_app
from bluegreen.settings.hooks import Hook, Hooks, Moment
from tests.unit.droplet_agents import DropletAgents, Refusal, ended
from tests.unit.fleets import BLUE, GREEN, ONE_EACH, droplet
from tests.unit.runs import APP, LOCK, REVISION, context

pytestmark = pytest.mark.usefixtures("trusting")

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = (ROOT / "include" / "apps" / "my_perl_app.yaml.example").read_text(encoding="utf-8")
SECOND = droplet(4, "green-2")
TWO = ONE_EACH.model_copy(update={"green": (GREEN, SECOND)})
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=TWO).model_dump(mode="json")
XCOMS = {"provision_check__plan": PLAN}


def test_a_command_is_handed_to_systemd_word_for_word_with_the_run_s_facts(tmp_path: Path) -> None:
    systemd_run = tmp_path / "systemd-run"
    systemd_run.write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
    systemd_run.chmod(0o755)
    hook = Hook(command=["bash", "it's $HOME", '"two" words', "%n"])
    unit = hook_unit(APP, Moment.BEFORE_SWITCH, 1)
    program = command_program(APP, unit, hook, "", {"REF": "v2'; id; '"})
    [step] = program["steps"]
    # The agent looks for the programs of the system only.
    call = f"import json, os, sys; os.environ['PATH'] = {str(tmp_path)!r}; from agent.call import Call; "
    call += "from agent.droplet.running import run; from agent.protocol import Verb; "
    call += "run(Call.of(Verb.RUN), json.loads(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", call, json.dumps(step["request"])],
        env={**os.environ, "PYTHONPATH": str(AGENT_DIRECTORY.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    properties, _, words = done.stdout.partition("--\n")
    assert f"--property=User=app-{APP}\n" in properties
    assert "--property=NoNewPrivileges=yes\n" in properties
    # systemd makes one $ of two.
    expected = ["/usr/bin/env", "BLUEGREEN_REF=v2'; id; '", "bash", "it's $$HOME", '"two" words', "%n"]
    assert words.splitlines() == expected


def test_every_moment_that_the_settings_have_is_a_moment_of_a_deploy() -> None:
    assert {moment.value for moment in Moment} == set(Hooks.model_fields)


def dag_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hooks: str) -> DAG:
    (tmp_path / f"{APP}.yaml").write_text(REFERENCE.replace("hooks:\n", f"hooks:\n{hooks}\n"))
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    bag = DagBag(ROOT / "dags" / "bluegreen_deploy.py")
    assert bag.import_errors == {}
    dag: DAG = bag.dags[f"bluegreen_deploy__{APP}"]
    return dag


def test_an_app_has_tasks_for_those_moments_only_for_which_it_has_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moments = {moment.value for moment in Moment}
    without = dag_with(monkeypatch, tmp_path, "")
    assert not moments & set(without.task_ids)
    some = dag_with(monkeypatch, tmp_path, "  before_switch: [{command: [bin/warm-up]}]")
    assert moments & set(some.task_ids) == {"before_switch"}
    assert "approval" in some.get_task("before_switch").upstream_task_ids
    assert "before_switch" in some.get_task("switch_traffic").upstream_task_ids


def test_the_report_waits_for_every_command_and_no_droplet_is_touched_before_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    every = "\n".join(f"  {moment}: [{{command: ['true']}}]" for moment in Moment)
    dag = dag_with(monkeypatch, tmp_path, every)
    report = dag.get_task("report").upstream_task_ids
    assert {"after_switch", "after_rollback", "on_failure"} <= report
    assert "before_deploy" in dag.get_task("build").upstream_task_ids
    assert {"drain", "render_and_reload"} <= dag.get_task("before_deploy").upstream_task_ids


@pytest.fixture
def run_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, dict[str, list[str]]]]:
    """Run the commands of a moment on droplets where each ends as it is told to."""

    def run(
        moment: Moment,
        *hooks: Hook,
        failing: bool = False,
        refused: dict[Verb, Code] | None = None,
        xcoms: Any = XCOMS,
        not_idle: ProxyError | None = None,
        **states: str,
    ) -> tuple[Any, dict[str, list[str]]]:
        agents = DropletAgents(monkeypatch)
        lines = {"lines": ["a line"], "cursor": 1}
        end = [lines, *ended("failed", "exit-code", 3)] if failing else ended("success")
        for one in TWO.green:
            agents.answers[one.name, Verb.FOLLOW_JOB] = end
            agents.answers |= {
                (one.name, verb): Refusal(f"no {verb} now", code) for verb, code in (refused or {}).items()
            }
        holding = MagicMock()
        holding.return_value.require_idle.side_effect = not_idle
        monkeypatch.setattr(ProxiesHook, "holding", holding)
        task = command_hooks.LifecycleCommandsOperator(
            task_id=moment.value, app_id=APP, moment=moment, lock=LOCK, revision=REVISION
        )
        app = load_app(APP)
        asked = app.hooks.model_copy(update={moment.value: list(hooks)})
        task.__dict__["app"] = app.model_copy(update={"hooks": asked})
        self = context(states, **xcoms)
        self["params"] = {"ref": "v2"}
        try:
            task.execute(self)
        except AirflowFailException as error:
            self["failed"] = str(error)
        started: dict[str, list[str]] = {}
        for name, verb in agents.sent:
            if verb is Verb.START_JOB:
                started.setdefault(name, []).append(moment.value)
        return self, started

    return run


READY = {"preview_check": "success"}


def test_commands_run_on_the_droplets_of_the_color_that_is_deployed_to(run_at: Any) -> None:
    one, every = Hook(command=["migrate"], droplets="one"), Hook(command=["warm-up"])
    _, started = run_at(Moment.BEFORE_SWITCH, one, every, **READY)
    assert {name: len(commands) for name, commands in started.items()} == {GREEN.name: 2, SECOND.name: 1}
    assert BLUE.name not in started


@pytest.mark.parametrize(("moment", "runs"), [(Moment.BEFORE_DEPLOY, False), (Moment.AFTER_SWITCH, True)])
def test_a_task_from_before_the_switch_that_is_cleared_after_it_runs_nothing(
    run_at: Any, moment: Moment, runs: bool
) -> None:
    has_traffic = ProxyError("green has the traffic", code="not_idle")
    run, started = run_at(moment, Hook(command=["migrate"]), not_idle=has_traffic)
    assert (run.get("failed"), bool(started)) == (None if runs else "green has the traffic", runs)


def test_a_command_that_fails_before_the_switch_stops_the_deploy_with_its_last_line(run_at: Any) -> None:
    run, started = run_at(Moment.BEFORE_SWITCH, Hook(command=["warm-up"]), failing=True, **READY)
    expected = f"before_switch: warm-up on {GREEN.label} ended with 3: a line"
    assert run["failed"] == run["ti"].said["error"] == expected
    assert SECOND.name not in started


def test_a_droplet_that_is_busy_starting_a_release_is_asked_again(run_at: Any) -> None:
    with pytest.raises(AirflowException, match="no start_job now"):
        run_at(Moment.BEFORE_SWITCH, Hook(command=["warm-up"]), refused={Verb.START_JOB: Code.BUSY}, **READY)


@pytest.mark.parametrize("code", [Code.CLAIMED, Code.BUSY])
def test_traces_of_a_command_that_stay_are_no_failure_of_the_command(run_at: Any, code: Code) -> None:
    with capture_logs() as logs:
        run, started = run_at(
            Moment.BEFORE_SWITCH, Hook(command=["warm-up"]), refused={Verb.END_JOB: code}, **READY
        )
    assert "failed" not in run
    assert len(started) == 2
    assert [one for one in logs if one["log_level"] == "warning" and "no end_job now" in one["event"]]


def test_a_command_that_fails_later_is_a_warning_and_the_others_run(run_at: Any) -> None:
    run, started = run_at(Moment.AFTER_SWITCH, Hook(command=["tell"]), failing=True)
    assert "failed" not in run
    assert len(run["ti"].said[command_hooks.WARNINGS_KEY]) == len(started) == 2


@pytest.mark.parametrize(
    ("moment", "states"),
    [(Moment.BEFORE_SWITCH, {"preview_check": "skipped"}), (Moment.ON_FAILURE, {"deploy_0": "success"})],
)
def test_a_moment_that_does_not_come_is_skipped(run_at: Any, moment: Moment, states: dict[str, str]) -> None:
    with pytest.raises(AirflowSkipException):
        run_at(moment, Hook(command=["tell"]), **states)


@pytest.mark.parametrize(("taken_back", "times"), [(True, 2), (False, 0)])
def test_commands_run_after_a_rollback_if_the_switch_was_taken_back_whoever_did_it(
    run_at: Any, taken_back: bool, times: int
) -> None:
    ended = {"moved": False, "taken_back": taken_back}
    with nullcontext() if taken_back else pytest.raises(AirflowSkipException):
        _, started = run_at(Moment.AFTER_ROLLBACK, Hook(command=["tell"]), xcoms={**XCOMS, "rollback": ended})
        assert len(started) == times


def test_a_run_that_failed_before_it_had_a_plan_says_that_its_commands_have_no_droplet(run_at: Any) -> None:
    with pytest.raises(AirflowSkipException, match="before it was known which droplets"):
        run_at(Moment.ON_FAILURE, Hook(command=["tell"]), xcoms={}, resolve_ref="failed")


def test_commands_after_a_failure_do_not_fail_a_run_without_a_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A plan as an argument would have to be there before a task can even be skipped."""
    every = "\n".join(f"  {moment}: [{{command: ['true']}}]" for moment in Moment)
    dag = dag_with(monkeypatch, tmp_path, every)
    late = (Moment.AFTER_SWITCH, Moment.AFTER_ROLLBACK, Moment.ON_FAILURE)
    upstream = {moment.value: dag.get_task(moment.value).upstream_task_ids for moment in late}
    assert upstream == {
        "after_switch": {"switch_traffic", "lock", "resolve_ref"},
        "after_rollback": {"rollback", "lock", "resolve_ref"},
        "on_failure": {"confirm", "rollback", "lock", "resolve_ref"},
    }
