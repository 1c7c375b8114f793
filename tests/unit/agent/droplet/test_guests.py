"""A one-off command is a guest on its droplet: it claims nothing, and no run of a deploy ends it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import jobs
from agent.droplet.activated import Activated, Pairing
from agent.droplet.app_paths import AppPaths
from agent.droplet.following import follow_job
from agent.droplet.guests import PREFIX, remember_end
from agent.one_off import GONE
from agent.paths import Paths
from agent.protocol import Code, Verb
from tests.unit.agent.droplet.job_machine import JOB, NAME, UNIT, Machine, job_machine, program
from tests.unit.agent.droplet.local_droplet import ASKED, LocalDroplet

GUEST = f"{PREFIX}{NAME}-0123456789ab"
OTHER = f"{PREFIX}{NAME}-ba9876543210"


def asked(unit: str = GUEST, verb: str = "run_command") -> dict[str, Any]:
    """Return the request that starts a one-off command."""
    steps = [{"verb": verb, "request": {"app": NAME, "unit": unit, "release": "r", "configuration": "c"}}]
    return {"unit": unit, "run_id": "run", "timeout": 9, "program": {"steps": steps}}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return job_machine(tmp_path, monkeypatch)


def test_a_command_starts_on_a_claimed_droplet_and_leaves_the_claim_as_it_is(machine: Machine) -> None:
    machine.start(7)
    machine.job(UNIT, 7)
    assert machine.ask(Verb.START_JOB, 0, **asked()) == "start\n"
    assert machine.jobs() == {UNIT}
    assert not (machine.path / "run/bluegreen" / GUEST / "token").exists()
    machine.said.write_text("")
    machine.start(7)


def test_a_later_run_ends_the_jobs_of_earlier_ones_and_no_command(machine: Machine) -> None:
    machine.job(UNIT, 7)
    machine.job(GUEST, 0)
    (machine.path / "units" / f"caged-{GUEST}-command.service").write_text("")
    assert "run-app" not in machine.ask(Verb.CLAIM, 8)
    assert machine.jobs() == {GUEST, f"caged-{GUEST}-command"}


def test_its_own_run_attaches_to_a_command_and_ends_it_whoever_has_claimed(
    machine: Machine,
) -> None:
    machine.ask(Verb.CLAIM, 8)
    machine.job(GUEST, 0)
    assert machine.ask(Verb.START_JOB, 0, **asked()) == ""
    assert machine.ask(Verb.END_JOB, 0, unit=GUEST) == f"stop {GUEST}.service\n"
    assert not (machine.path / "run/bluegreen" / GUEST).exists()


def lost(machine: Machine) -> None:
    """Restart the machine: its units and what is in memory are gone."""
    for directory in (machine.path / "units", machine.path / "run/bluegreen"):
        shutil.rmtree(directory)
        directory.mkdir()


def test_a_command_that_its_droplet_lost_is_not_started_again(machine: Machine) -> None:
    assert machine.ask(Verb.START_JOB, 0, **asked()) == "start\n"
    lost(machine)
    refused = machine.refusal(Verb.START_JOB, 0, **asked())
    assert (refused.code, str(refused)) == (Code.FAILED, GONE)
    assert machine.ask(Verb.START_JOB, 0, **asked(OTHER)) == "start\n"


def test_a_command_whose_start_was_killed_is_not_started_by_the_next_call(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_start", killed)
        with pytest.raises(KeyboardInterrupt):
            machine.ask(Verb.START_JOB, 0, **asked())
    assert str(machine.refusal(Verb.START_JOB, 0, **asked())) == GONE


@pytest.mark.parametrize("began", [True, False])
def test_a_call_that_comes_after_the_end_of_its_command_starts_nothing(machine: Machine, began: bool) -> None:
    if began:
        machine.ask(Verb.START_JOB, 0, **asked())
    machine.ask(Verb.END_JOB, 0, unit=GUEST)
    assert str(machine.refusal(Verb.START_JOB, 0, **asked())) == GONE


@pytest.mark.parametrize(("status", "state"), [(0, "success"), (3, "failed")])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_call_that_comes_after_a_command_has_ended_gets_its_exit_status(
    machine: Machine, status: int, state: str, restarts: bool
) -> None:
    machine.ask(Verb.START_JOB, 0, **asked())
    remember_end(
        AppPaths(Paths(), NAME),
        GUEST,
        {"command": "bin/x", "began": 1764500000.25, "seconds": 3.0, "exit_status": status},
    )
    if restarts:
        lost(machine)
    else:
        machine.ask(Verb.END_JOB, 0, unit=GUEST)
    assert machine.ask(Verb.START_JOB, 0, **asked()) == ""
    asked_for = {"app": NAME, "unit": GUEST, "cursor": 0, "seconds": 9}
    end = follow_job(Call.of(Verb.FOLLOW_JOB), asked_for)
    assert (end["state"], end["seconds"], end["cursor"]) == (state, 3.0, 0)
    assert end["answers"]["run_command"]["exit_status"] == status


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"exit_status": "0"}', f'{{"exit_status": 0, "x": "{"x" * 4096}"}}']
)
def test_an_end_that_is_not_usable_is_none(machine: Machine, text: str) -> None:
    machine.ask(Verb.START_JOB, 0, **asked())
    machine.ask(Verb.END_JOB, 0, unit=GUEST)
    (machine.path / "var/lib/bluegreen" / NAME / "commands" / GUEST).write_text(text)
    assert str(machine.refusal(Verb.START_JOB, 0, **asked())) == GONE
    asked_for = {"app": NAME, "unit": GUEST, "cursor": 0, "seconds": 9}
    assert follow_job(Call.of(Verb.FOLLOW_JOB), asked_for)["state"] == "missing"


def test_a_command_starts_while_the_file_of_another_one_is_replaced(machine: Machine) -> None:
    commands = machine.path / "var/lib/bluegreen" / NAME / "commands"
    commands.mkdir(parents=True)
    (commands / "gone").symlink_to("nowhere")
    assert machine.ask(Verb.START_JOB, 0, **asked()) == "start\n"


def test_a_command_that_cannot_be_remembered_is_not_started(machine: Machine) -> None:
    (machine.path / "var/lib/bluegreen" / NAME).write_text("no directory")
    with pytest.raises(NotADirectoryError):
        machine.ask(Verb.START_JOB, 0, **asked())
    assert machine.said.read_text() == ""
    machine.job(GUEST, 0)
    assert machine.ask(Verb.END_JOB, 0, unit=GUEST) == f"stop {GUEST}.service\n"


def test_commands_are_remembered_for_as_long_as_their_runs_are_tried(machine: Machine) -> None:
    remembered = machine.path / "var/lib/bluegreen" / NAME / "commands"
    machine.ask(Verb.START_JOB, 0, **asked())
    machine.ask(Verb.START_JOB, 0, **asked(OTHER))
    assert {one.name for one in remembered.iterdir()} == {GUEST, OTHER}
    os.utime(remembered / OTHER, (0, 0))
    machine.ask(Verb.END_JOB, 0, unit=GUEST)
    assert {one.name for one in remembered.iterdir()} == {GUEST}


@pytest.mark.parametrize(
    "request_",
    [asked(verb="activate"), asked(verb="run"), asked(UNIT), {**JOB, "unit": GUEST}],
    ids=["activate", "run", "no guest", "another job's"],
)
def test_nothing_but_a_command_starts_without_a_claim(machine: Machine, request_: dict[str, Any]) -> None:
    assert machine.refusal(Verb.START_JOB, 9, **request_).code is Code.BAD_REQUEST


def test_what_nobody_has_fetched_for_days_is_removed_by_the_next_command(machine: Machine) -> None:
    machine.job(OTHER, 0, program())
    kept = machine.path / "run/bluegreen" / OTHER / "program.json"
    os.utime(kept, (0, 0))
    assert machine.ask(Verb.START_JOB, 0, **asked()) == f"stop {OTHER}.service\nstart\n"
    assert not kept.exists()


def test_what_a_command_runs_with_stays_on_the_droplet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    droplet = LocalDroplet(tmp_path, monkeypatch)
    names = [droplet.put(digit * 40) for digit in "abcd"]
    digests = [digit * 64 for digit in "6789"]
    activated = Activated(droplet.app)
    for name, digest in zip(names, digests, strict=True):
        (droplet.app.configurations / digest).mkdir(parents=True)
        activated.record(Pairing(name, digest, f"unit of {name}"), ASKED)
    directory = droplet.app.jobs / f"{PREFIX}{droplet.app.name}-0123456789ab"
    directory.mkdir()
    request = {"release": names[0], "configuration": digests[0]}
    (directory / "program.json").write_text(json.dumps({"steps": [{"request": request}]}))
    activated.prune(1, "", Pairing(names[3], digests[3], f"unit of {names[3]}"))
    assert {one.name for one in droplet.app.releases.iterdir()} == {names[0], names[3]}
    assert {one.name for one in droplet.app.configurations.iterdir()} == {digests[0], digests[3]}
    activated.remove_failed()
    assert (droplet.app.releases / names[0]).is_dir()
