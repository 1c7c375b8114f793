"""A droplet belongs to the last run that claimed it; what earlier runs left behind changes nothing there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, DropletRefusedError, ProxyError
from bluegreen.hooks.droplet import CommandError, CommandResult, DropletHook, DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import deploy, previous_release
from bluegreen.operators import lifecycle_commands as command_hooks
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.release.jobs import (
    BUSY_STATUS,
    CLAIMED_STATUS,
    Claim,
    claim_script,
    clean_script,
    start_script,
    token_script,
)
from bluegreen.release.lifecycle_commands import Moment
from bluegreen.release.stop_idle import stop_script
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app_file import load_app
from bluegreen.settings.hooks import Hook
from tests.unit.operators.test_operators import APP, FLEET, GREEN, LB, REVISION, context, droplet

pytestmark = pytest.mark.usefixtures("trusting")

NAME = f"app-{APP}"
UNIT = f"bluegreen-{NAME}-{REVISION[:12]}"
OLD_UNIT = f"bluegreen-{NAME}-{'b' * 12}"
SECOND = droplet(4, "green-2")
SECOND_LB = droplet(5, "lb-2")
TWO = FLEET.model_copy(update={"green": (GREEN, SECOND)})
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=TWO).model_dump(mode="json")
LOCK = HeldLock(proxies=(LB, SECOND_LB), tokens={"lb-1": 7, "lb-2": 9}).model_dump(mode="json")
LOCK_LOST = ProxyError("this run no longer holds the lock", code="lock_lost")
AWAY = DropletUnreachableError("green-1 cannot be reached by SSH")
NEWER = CommandResult(CLAIMED_STATUS, "", "another run has claimed this droplet since\n")
NEWER_BY_NUMBER = "another run has claimed this droplet since (its token 8000 is newer than 9)"

Answer = CommandResult | BlueGreenError


class Droplets:
    """Droplets that answer each script as the test says, and remember who was sent what, with which token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, str]] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.tokens: set[int] = set()
        self.proxies: Any = create_autospec(ProxiesHook, instance=True, app=load_app(APP))
        monkeypatch.setattr(DropletHook, "of", lambda one, _app: self._hook(one))
        monkeypatch.setattr(ProxiesHook, "holding", lambda *_: self.proxies)
        for verb in ("start", "clean"):
            for module in (deploy, command_hooks):
                monkeypatch.setattr(module, f"{verb}_script", self._scripts(verb), raising=False)
        for module in (deploy, command_hooks):
            monkeypatch.setattr(module, "poll_script", lambda **_values: "poll")
        monkeypatch.setattr(previous_release, "claim_script", lambda claim: self._scripts("claim")(claim))

    def _scripts(self, verb: str) -> Callable[..., str]:
        def script(claim: Claim, **_values: object) -> str:
            self.tokens.add(claim.token)
            return verb

        return script

    def _hook(self, one: Any) -> Any:
        def run(script: str) -> CommandResult:
            self.sent.append((one.name, script))
            answer = self.answers.get((one.name, script), CommandResult(0, "", ""))
            if isinstance(answer, BlueGreenError):
                raise answer
            return answer

        hook = create_autospec(DropletHook, instance=True, droplet=one)
        hook.__enter__.return_value = hook
        hook.run_script.side_effect = run
        return hook


@pytest.fixture
def droplets(monkeypatch: pytest.MonkeyPatch) -> Droplets:
    return Droplets(monkeypatch)


def report(state: str) -> CommandResult:
    line = f"@bluegreen state={state} result=success exit=0 milliseconds=1 cursor=0 run_id=run"
    return CommandResult(0, line, "")


def deploy_task() -> Any:
    return deploy.DeployReleaseOperator(
        task_id="deploy", app_id=APP, lock=LOCK, plan=PLAN, revision=REVISION, ip=str(GREEN.public)
    )


def roll_back() -> Any:
    task: Any = previous_release.PreviousReleaseOperator(
        task_id="previous_release", app_id=APP, lock=LOCK, plan={**PLAN, "good": REVISION}, activation=[]
    )
    task._running = lambda plan: REVISION
    task.skip = lambda ti, tasks: None
    return task.execute({**context(), "params": {"revision": None}})


def test_a_deploy_claims_its_droplet_with_the_greatest_of_its_tokens(droplets: Droplets) -> None:
    droplets.answers["green-1", "poll"] = report("success")
    deploy_task().execute(context())
    assert droplets.sent == [("green-1", verb) for verb in ("start", "poll", "clean")]
    assert droplets.tokens == {9}


def test_a_deploy_that_is_cleared_after_its_switch_starts_nothing(droplets: Droplets) -> None:
    droplets.proxies.require_idle.side_effect = ProxyError("green has it", code="not_idle")
    with pytest.raises(AirflowFailException, match="green has it"):
        deploy_task().execute(context())
    assert droplets.sent == []


def test_a_deploy_whose_droplet_is_another_runs_fails_with_that_and_stops_nothing(
    droplets: Droplets,
) -> None:
    droplets.answers["green-1", "start"] = NEWER
    with pytest.raises(
        AirflowFailException, match=r"^green-1 .*: another run has claimed this droplet since$"
    ):
        deploy_task().execute(context())
    assert droplets.sent == [("green-1", "start")]


@pytest.mark.parametrize("verb", ["start", "claim"])
def test_a_token_that_no_proxy_gave_is_in_the_way_once(droplets: Droplets, verb: str) -> None:
    refused = CommandResult(CLAIMED_STATUS, "", f"{NEWER_BY_NUMBER}; nothing was started\n")
    droplets.answers["green-1", verb] = refused
    with pytest.raises(AirflowFailException, match="no other run holds the lock") as raised:
        deploy_task().execute(context()) if verb == "start" else roll_back()
    assert f"/var/lib/bluegreen/{NAME}.token" in str(raised.value)
    assert "a new run is let in" in str(raised.value)
    droplets.proxies.make_known.assert_called_once_with(8000)


def test_a_number_that_cannot_be_a_token_is_said_to_be_none_and_where_it_stands(droplets: Droplets) -> None:
    said = NEWER_BY_NUMBER.replace("8000", "9" * 18)
    droplets.answers["green-1", "start"] = CommandResult(CLAIMED_STATUS, "", said)
    with pytest.raises(AirflowFailException, match=f"remove /var/lib/bluegreen/{NAME}.token"):
        deploy_task().execute(context())
    assert not droplets.proxies.make_known.called


def test_a_token_of_a_run_that_has_the_lock_by_now_is_that(droplets: Droplets) -> None:
    droplets.answers["green-1", "start"] = CommandResult(CLAIMED_STATUS, "", NEWER_BY_NUMBER)
    droplets.proxies.make_known.side_effect = LOCK_LOST
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        deploy_task().execute(context())


def test_a_droplet_on_which_a_release_is_just_being_started_is_claimed_a_little_later(
    droplets: Droplets,
) -> None:
    droplets.answers["green-1", "start"] = CommandResult(BUSY_STATUS, "", "being started")
    with pytest.raises(AirflowException, match="being started") as raised:
        deploy_task().execute(context())
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("stopped", [CommandResult(0, "", ""), NEWER, AWAY])
def test_a_deploy_that_has_lost_its_lock_stops_its_job_and_says_so_whether_that_works_or_not(
    droplets: Droplets, stopped: Answer
) -> None:
    droplets.answers["green-1", "poll"] = report("running")
    droplets.answers["green-1", "clean"] = stopped
    droplets.proxies.renew_in_time.side_effect = [None, LOCK_LOST]
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        deploy_task().execute(context())
    assert droplets.sent == [("green-1", verb) for verb in ("start", "poll", "clean")]
    assert droplets.tokens == {9}


def test_a_job_whose_droplet_is_away_goes_on_for_the_retry(
    droplets: Droplets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "RECONNECT_SECONDS", 0.0)
    monkeypatch.setattr(deploy, "RECONNECT_INTERVAL", 0.01)
    droplets.answers["green-1", "poll"] = AWAY
    with pytest.raises(AirflowException, match="cannot be reached"):
        deploy_task().execute(context())
    assert ("green-1", "clean") not in droplets.sent


def test_an_app_s_own_commands_claim_their_droplet_as_well(droplets: Droplets) -> None:
    droplets.answers["green-1", "poll"] = report("success")
    task: Any = command_hooks.CommandHooksOperator(
        task_id="before_deploy", app_id=APP, moment=Moment.BEFORE_DEPLOY, lock=LOCK, revision=REVISION
    )
    hooks = task.app.hooks.model_copy(update={"before_deploy": [Hook(command=["true"], droplets="one")]})
    task.__dict__["app"] = task.app.model_copy(update={"hooks": hooks})
    task.execute({**context(provision_check__plan=PLAN), "params": {"ref": "v2"}})
    assert droplets.sent == [("green-1", verb) for verb in ("start", "poll", "clean")]
    assert droplets.tokens == {9}


def test_a_rollback_claims_every_idle_droplet_and_no_other(droplets: Droplets) -> None:
    assert roll_back() == []
    assert sorted(droplets.sent) == [("green-1", "claim"), ("green-2", "claim")]
    assert droplets.tokens == {9}


@pytest.mark.parametrize(
    "trouble", [AWAY, DropletRefusedError("green-1 refused the login"), CommandResult(1, "", "bash: cannot")]
)
def test_a_rollback_goes_on_without_a_droplet_that_cannot_be_claimed_and_says_what_may_happen(
    droplets: Droplets, trouble: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    droplets.answers["green-1", "claim"] = trouble
    assert roll_back() == []
    assert ("green-2", "claim") in droplets.sent
    [warning] = [line for line in capsys.readouterr().out.splitlines() if "may yet restart the app" in line]
    assert "green-1" in warning
    assert f"systemctl list-units 'bluegreen-{NAME}-*'" in warning


def test_a_rollback_whose_droplets_are_another_runs_moves_nothing(droplets: Droplets) -> None:
    droplets.answers["green-2", "claim"] = NEWER
    with pytest.raises(
        AirflowFailException, match=r"^green-2 .*: another run has claimed this droplet since$"
    ):
        roll_back()


def test_a_rollback_that_has_lost_its_lock_claims_nothing(droplets: Droplets) -> None:
    droplets.proxies.renew.side_effect = LOCK_LOST
    with pytest.raises(AirflowFailException, match="no longer holds the lock"):
        roll_back()
    assert droplets.sent == []


SYSTEMCTL = """#!/bin/bash
# Knows units by files that are named after them.
cd "$UNITS" || exit 1
case $1 in
    list-units) compgen -G "${!#}" ;;
    show) [ -e "${!#}" ] && case $2 in *=ActiveState) echo active ;; *=SubState) echo running ;; esac ;;
    stop)
        shift
        mapfile -t there < <(for one; do compgen -G "$one"; done)
        [ -z "${there[*]}" ] || { echo "stop ${there[*]}" >>"$SAID" && rm -f "${there[@]}"; }
        ;;
esac
exit 0
"""
SYSTEMD_RUN = """#!/bin/bash
echo "start" >>"$SAID"
"""


class Machine:
    """Scripts on this machine, with directories and a systemd of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said = path / "said"
        for name in ("bin", "units", "run", "lib"):
            (path / name).mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            (path / "bin" / name).write_text(text, encoding="utf-8")
            (path / "bin" / name).chmod(0o755)

    def run(self, script: str) -> CommandResult:
        self.said.write_text("")
        for there, here in (("/run/bluegreen", "run"), ("/var/lib/bluegreen", "lib")):
            script = script.replace(there, str(self.path / here))
        environment = {"PATH": f"{self.path}/bin:/usr/bin:/bin", "UNITS": f"{self.path}/units"}
        done = subprocess.run(
            ["bash", "-s"],
            input=script,
            env={**environment, "SAID": str(self.said)},
            capture_output=True,
            text=True,
            check=False,
        )
        return CommandResult(done.returncode, self.said.read_text(), done.stderr)

    def job(self, unit: str, token: int, script: str = "") -> None:
        """Let a job be at work."""
        (self.path / "run" / f"{unit}.sh").write_text(script)
        (self.path / "units" / f"{unit}.service").touch()
        (self.path / "run" / f"{unit}.token").write_text(f"{token}\n")

    def jobs(self) -> set[str]:
        return {one.stem for one in (self.path / "units").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def start(token: int) -> str:
    return start_script(unit=UNIT, run_id="run", script="id", timeout=9, claim=Claim(APP, token))


def test_a_later_run_starts_its_job_and_an_earlier_one_none(machine: Machine) -> None:
    assert machine.run(start(7)).stdout == "start\n"
    assert machine.run(start(8)).stdout == "start\n"
    refused = machine.run(start(7))
    assert (refused.status, refused.stdout) == (CLAIMED_STATUS, "")
    assert refused.stderr == (
        "another run has claimed this droplet since (its token 8 is newer than 7); "
        "nothing was started, trigger a new run\n"
    )


def test_a_stop_that_is_refused_speaks_of_what_was_not_stopped(machine: Machine) -> None:
    machine.run(claim_script(Claim(APP, 8)))
    refused = machine.run(stop_script(Claim(APP, 7)))
    assert (refused.status, refused.stderr) == (
        CLAIMED_STATUS,
        "another run has claimed this droplet since (its token 8 is newer than 7); "
        "nothing was stopped, trigger a new run\n",
    )


def test_a_droplet_reports_the_token_of_its_last_run_and_nothing_else_changes(machine: Machine) -> None:
    script = token_script(APP).replace("\nnewest_token\n", '\nnewest_token >"$SAID"\n')
    assert machine.run(script).stdout == "0\n"
    machine.run(claim_script(Claim(APP, 8)))
    before = sorted(machine.path.rglob("*"))
    assert machine.run(script).stdout == "8\n"
    assert sorted(machine.path.rglob("*")) == before


def test_what_a_droplet_that_refuses_a_run_says_is_understood(machine: Machine) -> None:
    machine.run(claim_script(Claim(APP, 8)))
    proxies: Any = create_autospec(ProxiesHook, instance=True, app=load_app(APP))
    refused = machine.run(start(7))
    with pytest.raises(BlueGreenError, match="no other run holds"), refusals_explained(proxies):
        raise CommandError(refused.stderr, refused.status)
    proxies.make_known.assert_called_once_with(8)


@pytest.mark.parametrize("lost", ["run", "lib"])
def test_a_claim_outlives_a_restart_and_needs_no_disk(machine: Machine, lost: str) -> None:
    machine.run(claim_script(Claim(APP, 8)))
    (machine.path / lost / f"{NAME}.token").unlink()
    assert machine.run(start(7)).status == CLAIMED_STATUS


def test_a_disk_that_takes_nothing_does_not_stop_a_claim(machine: Machine) -> None:
    (machine.path / "lib").rmdir()
    (machine.path / "lib").write_text("no directory, so nothing can be written there")
    assert machine.run(claim_script(Claim(APP, 8))).status == 0
    assert machine.run(start(7)).status == CLAIMED_STATUS


def test_a_claim_stops_the_jobs_of_earlier_runs_and_of_nobody_else(machine: Machine) -> None:
    others = {f"bluegreen-{NAME}_2-{'b' * 12}", f"bluegreen-{NAME}-before_deploy-1"}
    machine.job(OLD_UNIT, 7)
    for unit in others:
        machine.job(unit, 7 if "_2-" in unit else 8)
    assert machine.run(claim_script(Claim(APP, 8))).stdout == f"stop {OLD_UNIT}.service\n"
    assert machine.jobs() == others
    # One of the time before there were tokens.
    machine.job(OLD_UNIT, 7)
    (machine.path / "run" / f"{OLD_UNIT}.token").unlink()
    machine.run(start(8))
    assert machine.jobs() == others


def test_what_a_dead_run_left_at_work_is_attached_to_if_it_does_the_very_same(machine: Machine) -> None:
    machine.job(UNIT, 7, "id")
    assert machine.run(start(8)).stdout == ""
    assert machine.run(clean_script(unit=UNIT, claim=Claim(APP, 8))).status == 0
    machine.job(UNIT, 7, "id # with other settings")
    assert machine.run(start(8)).stdout == f"stop {UNIT}.service\nstart\n"


def test_a_job_that_is_attached_to_becomes_the_run_s_own(machine: Machine) -> None:
    machine.job(UNIT, 7, "id")
    machine.run(start(8))
    assert machine.run(claim_script(Claim(APP, 8))).stdout == ""
    assert machine.jobs() == {UNIT}


def test_a_job_is_stopped_by_its_own_run_only(machine: Machine) -> None:
    machine.run(start(7))
    machine.job(UNIT, 7)
    machine.run(claim_script(Claim(APP, 7)))
    assert machine.run(clean_script(unit=UNIT, claim=Claim(APP, 6))).status == CLAIMED_STATUS
    assert machine.jobs() == {UNIT}
    assert machine.run(clean_script(unit=UNIT, claim=Claim(APP, 7))).status == 0
    assert machine.jobs() == set()


def test_nothing_is_claimed_while_a_release_is_being_started(machine: Machine) -> None:
    # As long as the real limit, the test would only be slower.
    script = claim_script(Claim(APP, 8)).replace("--timeout 10", "--timeout 0.1")
    with (machine.path / "run" / f"{NAME}.claim").open("w") as held:
        subprocess.run(["flock", str(held.fileno())], pass_fds=[held.fileno()], check=True)
        refused = machine.run(script)
    assert refused.status == BUSY_STATUS
    assert machine.run(claim_script(Claim(APP, 8))).status == 0
