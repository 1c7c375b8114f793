"""Activating a release writes the units of its processes and timers, and starts none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet import processes as step
from agent.droplet.activated import Pairing, Record
from agent.droplet.activation import Activation
from agent.droplet.process_units import UnitFiles
from agent.droplet.processes import processes
from agent.protocol import AgentError, Code, Verb
from tests.unit.agent.droplet.activating import EARLIER, SAID, ActivatingDroplet
from tests.unit.agent.droplet.local_droplet import ASKED, about
from tests.unit.agent.droplet.local_processes import process_text, timer_texts, units_of

APP_NAME = "app-shop"
ADVICE = "see git update-index --chmod=+x bin/worker"


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatingDroplet:
    return ActivatingDroplet(tmp_path, monkeypatch)


@pytest.mark.usefixtures("healthy")
def test_units_of_processes_are_written_and_not_started(
    droplet: ActivatingDroplet,
) -> None:
    units = units_of(droplet.new)
    answer = droplet.activate(units=units)
    assert UnitFiles(droplet.app).texts() == units
    assert not list(droplet.app.paths.units.glob("*.wants/*"))
    assert not [line for line in droplet.told if line.startswith("start")]
    # What runs beside the server is part of the pairing.
    started = Pairing(droplet.new, SAID["digest"], f"unit of {droplet.new}\n", tuple(sorted(units.items())))
    assert answer["pairing"] == started.digest == droplet.activated.started()
    assert started.digest != droplet.pairing(droplet.new, SAID).digest
    assert droplet.activated.all()[0].pairing == started
    (droplet.app.paths.units / f"{APP_NAME}-worker@.service").write_text("edited by hand\n")
    assert droplet.activated.started() is None


@pytest.mark.usefixtures("healthy")
def test_a_release_without_processes_ends_those_of_the_one_before(droplet: ActivatingDroplet) -> None:
    files = UnitFiles(droplet.app)
    files.replace(units_of(droplet.old))
    files.enable([f"{APP_NAME}-worker@1.service"])
    (droplet.path / "units").mkdir()
    (droplet.path / "units" / f"{APP_NAME}-worker@1.service").write_text("active running\n")
    droplet.activate()
    assert (files.texts(), files.enabled()) == ({}, set())
    assert not list((droplet.path / "units").iterdir())
    told = droplet.told
    assert told.index(f"stop --no-block -- {APP_NAME}-worker@1.service") < told.index("daemon-reload")


def leave(droplet: ActivatingDroplet, how: str) -> set[str]:
    """Let an earlier move have left a worker and a timer, whose command is at work; return their units."""
    files = UnitFiles(droplet.app)
    files.replace(units_of(droplet.old))
    files.enable([f"{APP_NAME}-worker@1.service", f"{APP_NAME}-cleanup.timer"])
    for name in ("units", "slow", "stuck"):
        (droplet.path / name).mkdir(exist_ok=True)
    left = {f"{APP_NAME}-worker@1.service": "active running", f"{APP_NAME}-cleanup.timer": "active waiting"}
    left[f"{APP_NAME}-cleanup.service"] = "activating start"
    for unit, state in left.items():
        (droplet.path / "units" / unit).write_text(f"{state}\n")
        if how and not unit.endswith(".timer"):
            (droplet.path / how / unit).write_text("9999\n")
    return set(left)


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("how", ["", "slow"])
def test_what_an_earlier_move_has_left_is_killed_by_an_activation_after_a_while(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(activation, "LEFTOVER_STOP", 0.1 if how else 600)
    leave(droplet, how)
    droplet.activate(units=units_of(droplet.new))
    assert not list((droplet.path / "units").iterdir())
    assert UnitFiles(droplet.app).enabled() == set()
    killed = [line for line in droplet.told if line.startswith("kill")]
    assert len(killed) == bool(how)
    # The old release has no process any more when the new one is started.
    assert all(droplet.told.index(line) < droplet.told.index("restart app-shop.service") for line in killed)


@pytest.mark.usefixtures("healthy")
def test_a_leftover_that_nothing_can_kill_refuses_an_activation_soon(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "LEFTOVER_STOP", 0.1)
    monkeypatch.setattr(step, "KILL_WAIT", 0.1)
    leave(droplet, "stuck")
    assert "cleanup, worker@1 cannot be stopped, not even by SIGKILL" in str(droplet.refusal())
    assert "restart app-shop.service" not in droplet.told


def restore(droplet: ActivatingDroplet) -> None:
    """Restore the old release with its units, as a rollback does."""
    text = f"WorkingDirectory=/opt/{APP_NAME}/releases/{droplet.old}\n"
    pairing = Pairing(droplet.old, EARLIER["digest"], text, tuple(sorted(units_of(droplet.old).items())))
    record = Record(pairing, {**ASKED, "timeout": 1})
    Activation.again(Call.of(Verb.RESTORE), about(kept="", keep=5), record).run(is_urgent=True)


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("how", ["", "slow", "stuck"])
def test_a_restored_web_server_does_not_wait_for_a_leftover(droplet: ActivatingDroplet, how: str) -> None:
    left = leave(droplet, how)
    restore(droplet)
    assert f"releases/{droplet.old}" in (droplet.read("running") or "")
    up = {path.name for path in (droplet.path / "units").iterdir()}
    # A timer is no work, so it ends at once. What is at work was asked to end, and starts never again.
    assert up == ({unit for unit in left if not unit.endswith(".timer")} if how else set())
    assert all((droplet.path / "units" / unit).read_text().startswith("deactivating") for unit in up)
    assert UnitFiles(droplet.app).enabled() == set()


@pytest.mark.usefixtures("healthy")
def test_what_was_asked_to_end_has_ended_before_it_is_started_again(droplet: ActivatingDroplet) -> None:
    leave(droplet, "slow")
    restore(droplet)
    worker = f"{APP_NAME}-worker@1.service"
    for unit in (worker, f"{APP_NAME}-cleanup.service"):
        (droplet.path / "slow" / unit).write_text("3\n")
    answer = processes(Call.of(Verb.PROCESSES), about(run=["worker"]))
    # The fake systemd counts looks.
    assert not (droplet.path / "slow" / worker).exists()
    assert {one["state"] for one in answer["processes"] if one["name"] == "worker"} == {"running"}


@pytest.mark.usefixtures("healthy")
def test_what_was_asked_to_end_and_does_not_is_not_started_again(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, seconds in {"LONGEST_STOP": 0, "STOP_SPARE": 0.1, "KILL_WAIT": 0.1}.items():
        monkeypatch.setattr(step, limit, seconds)
    leave(droplet, "stuck")
    restore(droplet)
    with pytest.raises(AgentError, match="worker@1 cannot be stopped, not even by SIGKILL"):
        processes(Call.of(Verb.PROCESSES), about(run=["worker"]))
    assert UnitFiles(droplet.app).enabled() == set()


@pytest.mark.usefixtures("unhealthy")
def test_a_release_that_is_not_healthy_gives_way_with_its_processes(droplet: ActivatingDroplet) -> None:
    pairing = Pairing(droplet.old, EARLIER["digest"], "good\n", tuple(sorted(units_of(droplet.old).items())))
    droplet.was_healthy(pairing, -1)
    droplet.refusal(units=units_of(droplet.new, count=5), kept=pairing.digest)
    assert UnitFiles(droplet.app).texts() == units_of(droplet.old)
    assert droplet.activated.started() == pairing.digest


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (None, "the process worker: there is no program bin/worker"),
        (
            0o644,
            "the process worker: bin/worker is not executable; see git update-index --chmod=+x bin/worker",
        ),
        (0o755, ""),
    ],
)
def test_a_process_whose_program_is_not_in_the_release_is_refused_before_anything_changes(
    droplet: ActivatingDroplet, mode: int | None, expected: str
) -> None:
    program = droplet.app.releases / droplet.new / "bin/worker"
    text = process_text(droplet.new) + f"Program=/opt/{APP_NAME}/releases/{droplet.new}/bin/worker\n"
    if mode is not None:
        program.parent.mkdir()
        program.touch(mode)
    units = {f"{APP_NAME}-worker@.service": text}
    if not expected:
        droplet.activate(units=units)
        return
    assert str(droplet.refusal(units=units)) == expected
    assert (droplet.told, UnitFiles(droplet.app).texts()) == ([], {})


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("said", "status"),
    [("Failed to parse calendar specification: Invalid argument", 1), ("Next elapse: never", 0)],
)
def test_a_timer_whose_moments_systemd_does_not_know_is_refused(
    droplet: ActivatingDroplet, said: str, status: int
) -> None:
    droplet.program("systemd-analyze", f"#!/bin/sh\necho '{said}'\nexit {status}\n")
    refused = droplet.refusal(units=timer_texts(droplet.new, calendar="*-02-31 03:00"))
    assert str(refused) == f"the timer cleanup: systemd does not take '*-02-31 03:00': {said}"
    assert droplet.told == []


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("[Service]\nExecStart=/root/backup\n"),
    "a copy of another unit": lambda path: path.write_text(process_text("x" * 40, name="worker")),
    "one that was edited": lambda path: path.write_text("edited by hand\n"),
    "empty": lambda path: path.write_text(""),
    "huge": lambda path: path.write_text("#" * 1_000_000),
    "a mask": lambda path: path.symlink_to("/dev/null"),
    "a link to nothing": lambda path: path.symlink_to("/gone"),
    "a directory": lambda path: path.mkdir(),
}
NAMES = [f"{APP_NAME}-{end}" for end in ("backup.service", "backup@.service", "backup.timer")]
# As the release that is activated has them.
SAME = [f"{APP_NAME}-{end}" for end in ("cleanup.service", "cleanup.timer")]


def everything(droplet: ActivatingDroplet) -> dict[str, Any]:
    """Return what is in the directory of units, with the target or the text of each."""
    paths = droplet.app.paths.units.rglob("*")
    return {
        str(path): path.readlink() if path.is_symlink() else path.is_file() and path.read_text()
        for path in paths
    }


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("name", [*NAMES, *SAME])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_unit_that_no_deploy_has_written_is_neither_replaced_nor_removed(
    droplet: ActivatingDroplet, kind: str, name: str
) -> None:
    files = UnitFiles(droplet.app)
    files.replace(units_of(droplet.old))
    path = droplet.app.paths.units / name
    path.unlink(missing_ok=True)
    FOREIGN[kind](path)
    link = droplet.app.paths.units / "multi-user.target.wants" / name
    link.parent.mkdir()
    link.symlink_to(path)
    before = everything(droplet)
    for units in ({}, units_of(droplet.new)):
        refused = droplet.refusal(units=units)
        assert (refused.code, str(refused)) == (
            Code.FAILED,
            f"{path} was not written by a deploy, and has the name of a unit of this app's processes and "
            "timers; nothing was changed: rename it, or remove it",
        )
        assert everything(droplet) == before
        assert droplet.told == []
    assert files.strangers() == [name]
    if not path.is_dir():
        path.unlink()
        droplet.activate(units=units_of(droplet.new))
        assert (files.texts(), files.strangers()) == (units_of(droplet.new), [])


@pytest.mark.usefixtures("healthy")
def test_files_and_links_that_are_called_otherwise_are_left_alone(droplet: ActivatingDroplet) -> None:
    wants = droplet.app.paths.units / "sockets.target.wants"
    wants.mkdir()
    names = (f"{APP_NAME}-backup.socket", f"{APP_NAME}-backup.service.d", f"{APP_NAME}2-backup.service")
    others = [droplet.app.paths.units / name for name in names]
    for path in others:
        path.write_text("by hand\n")
    (wants / names[0]).symlink_to(others[0])
    UnitFiles(droplet.app).replace(units_of(droplet.old))
    droplet.activate()
    assert UnitFiles(droplet.app).texts() == {}
    assert all(path.read_text() == "by hand\n" for path in others)
    assert (wants / names[0]).is_symlink()


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("name", [*NAMES, *SAME])
def test_going_back_leaves_it_where_it_is_unless_its_name_is_needed(
    droplet: ActivatingDroplet, name: str
) -> None:
    """A rollback has to work whatever somebody has put there meanwhile."""
    files, path = UnitFiles(droplet.app), droplet.app.paths.units / name
    files.replace(units_of(droplet.new))
    path.write_text("by hand\n")
    pairing = Pairing(droplet.old, EARLIER["digest"], "good\n", tuple(sorted(units_of(droplet.old).items())))
    record = Record(pairing, ASKED)
    again = Activation.again(Call.of(Verb.RESTORE), about(kept="", keep=5), record)
    if name in SAME:
        with pytest.raises(AgentError, match=f"{name} was not written by a deploy"):
            again.run()
    else:
        again.run()
        assert files.texts() == units_of(droplet.old)
    assert path.read_text() == "by hand\n"


@pytest.mark.parametrize(
    "units",
    [
        {"app-shop-a@.service": process_text("x", name="b")},
        {"app-shop.service": "x"},
        {"app-shop-a.mount": "x"},
        {"app-other-a@.service": "x"},
        {"../app-shop-a@.service": "x"},
        {"app-shop-a/b@.service": "x"},
        {"app-shop-a@.service": ""},
        {"app-shop-a@.service": "x\0"},
        {"app-shop-a@.service": "x" * 20_001},
        {f"app-shop-a{number}@.service": "x" for number in range(33)},
        [],
        None,
    ],
)
def test_units_that_are_no_process_s_are_refused(droplet: ActivatingDroplet, units: object) -> None:
    assert droplet.refusal(units=units).code is Code.BAD_REQUEST
    assert droplet.told == []
