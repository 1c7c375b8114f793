"""A droplet belongs to the last run that claimed it; what earlier runs left behind changes nothing there."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from agent.call import Call
from agent.droplet import claims
from agent.droplet.claims import token
from agent.protocol import Code, Verb
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.settings.app_file import load_app
from tests.unit.agent.droplet.job_machine import (
    APP,
    JOB,
    NAME,
    OLD_UNIT,
    RUNNING,
    SYSTEMCTL,
    UNIT,
    Machine,
    job_machine,
    program,
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return job_machine(tmp_path, monkeypatch)


def test_a_later_run_starts_its_job_and_an_earlier_one_none(machine: Machine) -> None:
    assert machine.start(7) == "start\n"
    assert machine.start(8) == "start\n"
    refused = machine.refusal(Verb.START_JOB, 7, **JOB)
    assert refused.code is Code.CLAIMED
    assert str(refused) == (
        "another run has claimed this droplet since (its token 8 is newer than 7); "
        "nothing was started, trigger a new run"
    )


def test_a_stop_that_is_refused_speaks_of_what_was_not_stopped(machine: Machine) -> None:
    machine.ask(Verb.CLAIM, 8)
    refused = machine.refusal(Verb.STOP, 7)
    assert (refused.code, str(refused)) == (
        Code.CLAIMED,
        "another run has claimed this droplet since (its token 8 is newer than 7); "
        "nothing was stopped, trigger a new run",
    )


@pytest.mark.parametrize("action", ["disable", "stop"])
def test_a_stop_that_systemd_refuses_is_not_reported_as_done(machine: Machine, action: str) -> None:
    (machine.path / "units" / f"{NAME}.service").write_text(RUNNING)
    refusing = f'[ "$1" != {action} ] || {{ echo "Access denied" >&2; exit 1; }}\ncase $1 in'
    (machine.path / "bin/systemctl").write_text(SYSTEMCTL.replace("case $1 in", refusing))
    refused = machine.refusal(Verb.STOP, 8)
    assert (refused.code, str(refused)) == (
        Code.FAILED,
        f"systemctl does not {action} {NAME}.service: Access denied",
    )


def test_a_droplet_reports_the_token_of_its_last_run_and_nothing_else_changes(machine: Machine) -> None:
    def newest() -> Any:
        return token(Call.of(Verb.TOKEN), {"app": NAME})

    assert newest() == {"token": 0}
    machine.ask(Verb.CLAIM, 8)
    before = sorted(machine.path.rglob("*"))
    assert newest() == {"token": 8}
    assert sorted(machine.path.rglob("*")) == before


def test_what_a_droplet_that_refuses_a_run_says_is_understood(machine: Machine) -> None:
    machine.ask(Verb.CLAIM, 8)
    proxies: Any = create_autospec(ProxiesHook, instance=True, app=load_app(APP))
    refused = machine.refusal(Verb.START_JOB, 7, **JOB)
    with pytest.raises(BlueGreenError, match="no other run holds"), refusals_explained(proxies):
        raise AgentRefusedError(str(refused), refused.code)
    proxies.make_known.assert_called_once_with(8)


@pytest.mark.parametrize("lost", ["run", "var/lib"])
def test_a_claim_outlives_a_restart_and_needs_no_disk(machine: Machine, lost: str) -> None:
    machine.ask(Verb.CLAIM, 8)
    (machine.path / lost / "bluegreen" / f"{NAME}.token").unlink()
    assert machine.refusal(Verb.START_JOB, 7, **JOB).code is Code.CLAIMED


def test_a_disk_that_takes_nothing_does_not_stop_a_claim(machine: Machine) -> None:
    (machine.path / "var/lib/bluegreen").rmdir()
    (machine.path / "var/lib/bluegreen").write_text("no directory, so nothing can be written there")
    machine.ask(Verb.CLAIM, 8)
    assert machine.refusal(Verb.START_JOB, 7, **JOB).code is Code.CLAIMED


def test_memory_that_takes_nothing_is_named(machine: Machine) -> None:
    (machine.path / "run/bluegreen" / f".{NAME}.token.new").mkdir()
    refused = machine.refusal(Verb.CLAIM, 8)
    assert "app-my_perl_app.token cannot be written; see what fills it" in str(refused)


def test_a_claim_stops_the_jobs_of_earlier_runs_and_of_nobody_else(machine: Machine) -> None:
    others = {f"bluegreen-{NAME}_2-{'b' * 12}", f"bluegreen-{NAME}-before_deploy-1"}
    machine.job(OLD_UNIT, 7)
    for unit in others:
        machine.job(unit, 7 if "_2-" in unit else 8)
    assert machine.ask(Verb.CLAIM, 8) == f"stop {OLD_UNIT}.service\n"
    assert machine.jobs() == others
    # One of the time before there were tokens.
    machine.job(OLD_UNIT, 7)
    (machine.path / "run/bluegreen" / OLD_UNIT / "token").unlink()
    machine.start(8)
    assert machine.jobs() == others


def test_a_program_is_kept_in_memory_and_off_the_command_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.path / "bin/systemd-run").write_text('#!/bin/bash\nprintf "%s\\n" "$@" >>"$SAID"\n')
    words = machine.start(7, program=program(secret="hunter22")).splitlines()
    kept = machine.path / "run/bluegreen" / UNIT / "program.json"
    assert words[-4:] == ["-B", "/none.pyz", "job", "-"]
    assert f"--property=StandardInput=file:{kept}" in words
    assert not any("hunter22" in word for word in words)
    assert "hunter22" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    holding = [
        path for path in machine.path.rglob("*") if path.is_file() and b"hunter22" in path.read_bytes()
    ]
    assert holding == [kept]


def test_what_a_dead_run_left_at_work_is_attached_to_if_it_does_the_very_same(machine: Machine) -> None:
    machine.job(UNIT, 7, program(a=1))
    assert machine.start(8) == ""
    machine.ask(Verb.END_JOB, 8, unit=UNIT)
    machine.job(UNIT, 8, program(a=1, b="other"))
    assert machine.start(9) == f"stop {UNIT}.service\nstart\n"


def test_a_job_that_is_attached_to_becomes_the_run_s_own(machine: Machine) -> None:
    machine.job(UNIT, 7, program(a=1))
    machine.start(8)
    assert machine.ask(Verb.CLAIM, 8) == ""
    assert machine.jobs() == {UNIT}


def test_a_job_is_stopped_by_its_own_run_only(machine: Machine) -> None:
    machine.start(7)
    machine.job(UNIT, 7)
    machine.ask(Verb.CLAIM, 7)
    assert machine.refusal(Verb.END_JOB, 6, unit=UNIT).code is Code.CLAIMED
    assert machine.jobs() == {UNIT}
    machine.ask(Verb.END_JOB, 7, unit=UNIT)
    assert machine.jobs() == set()
    assert not (machine.path / "run/bluegreen" / UNIT).exists()


def test_nothing_is_claimed_while_a_release_is_being_started(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as the real limit, the test would only be slower.
    monkeypatch.setattr(claims, "CLAIM_WAIT", 0.1)
    with (machine.path / "run/bluegreen" / f"{NAME}.claim").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = machine.refusal(Verb.CLAIM, 8)
    assert refused.code is Code.BUSY
    machine.ask(Verb.CLAIM, 8)


@pytest.mark.parametrize("run_id", ["", " ", "a\nb", "a\x1bb"])
def test_a_run_id_that_is_no_line_is_refused(machine: Machine, run_id: str) -> None:
    assert machine.refusal(Verb.START_JOB, 7, **{**JOB, "run_id": run_id}).code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    "changes",
    [
        {"app": "../etc"},
        {"unit": "ssh"},
        {"unit": f"bluegreen-{NAME}_2-x"},
        {"token": "7"},
        {"program": None},
        {"program": {"steps": []}},
        {"program": {"steps": program()["steps"] * 6}},
        {"program": {"steps": ["install"]}},
        {"program": {"steps": [{"verb": "claim", "request": {"app": NAME, "unit": UNIT}}]}},
        {"program": {"steps": [{"verb": ["run"], "request": {"app": NAME, "unit": UNIT}}]}},
        {"program": {"steps": [{"verb": "run", "request": None}]}},
        {"program": program(app="app-other")},
        {"program": program(unit=OLD_UNIT)},
    ],
    ids=str,
)
def test_a_job_that_is_none_is_refused(machine: Machine, changes: dict[str, Any]) -> None:
    assert machine.refusal(Verb.START_JOB, 7, **{**JOB, **changes}).code is Code.BAD_REQUEST


def test_what_a_killed_build_left_is_removed_by_a_claim(machine: Machine) -> None:
    root = machine.path / "opt" / NAME
    for name in ("releases/a.partial.1/x", "cache/k.partial.2/x", "releases/whole/x", "build.partial.d/x"):
        (root / name).mkdir(parents=True)
    configurations = machine.path / "var/lib/bluegreen" / NAME / "configurations"
    (configurations / "c.partial.3").mkdir(parents=True)
    machine.ask(Verb.CLAIM, 8)
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if not any(path.glob("*")))
    assert left == ["cache", "releases/whole/x"]
    assert list(configurations.iterdir()) == []


def test_a_file_that_was_sent_and_that_nobody_has_needed_for_an_hour_is_removed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = machine.path / "opt" / NAME / "incoming/a.tar.gz"
    sent.parent.mkdir(parents=True)
    sent.touch()
    machine.ask(Verb.CLAIM, 8)
    assert sent.exists()
    monkeypatch.setattr(claims, "IN_TRANSIT", -1)
    machine.ask(Verb.CLAIM, 8)
    assert not sent.exists()


def test_an_artifact_stays_until_its_job_is_ended_or_the_droplet_is_claimed(machine: Machine) -> None:
    built = machine.path / "opt" / NAME / "outgoing/a.tar.gz"
    built.parent.mkdir(parents=True)
    built.touch()
    machine.ask(Verb.END_JOB, 8, unit=f"bluegreen-{NAME}-build-x")
    assert not built.exists()
    built.touch()
    machine.ask(Verb.CLAIM, 8)
    assert not built.exists()


def test_what_a_killed_build_left_is_removed_however_deep_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = machine.path / "opt" / NAME / "releases/a.partial.1"
    left.mkdir(parents=True)
    with monkeypatch.context() as context:
        context.chdir(left)
        for _ in range(1500):
            Path("d").mkdir()
            context.chdir("d")
    try:
        machine.ask(Verb.CLAIM, 8)
        assert not left.exists()
    finally:
        # pytest cannot remove it either.
        subprocess.run(["rm", "-rf", left], check=True)
