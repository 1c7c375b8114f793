"""Processes and timers on a real machine: they run where they are asked for, and end with their work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.processes import ProcessRecord
from agent.protocol import Verb
from bluegreen.release.jobs import JobState
from bluegreen.release.processes import processes_program, processes_unit
from bluegreen.release.release import failure_cause
from tests.sandbox.app_droplet import APP, SYSTEM_NAME, AppDroplet, Ended
from tests.sandbox.releases import Commit, answering, refused, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox

STATE = f"/var/lib/{SYSTEM_NAME}"
WORKERS = [f"{SYSTEM_NAME}-worker@{number}.service" for number in (1, 2)]
TIMER = f"{SYSTEM_NAME}-tick.timer"
# Works on jobs of a second, and finishes the one that it has begun.
WORKER = """#!/usr/bin/perl
use strict; use warnings;
$| = 1;
sub note { open my $file, '>>', "$ENV{STATE_DIRECTORY}/worked" or die $!; print {$file} "@_\\n" }
my $mode = shift // 'polite';
my $ends = 0;
$SIG{TERM} = $mode eq 'stubborn' ? 'IGNORE' : sub { $ends = 1 };
if ($mode eq 'daemon') { fork and exit 0; require POSIX; POSIX::setsid(); sleep 3600 }
if ($mode eq 'dies') { print STDERR "no queue at 10.0.0.5\\n"; exit 3 }
unless (fork) { require POSIX; POSIX::setsid(); $SIG{TERM} = 'IGNORE'; sleep 1 while 1 }
note("began $$ $ENV{GREETING}");
until ($ends && $mode ne 'stubborn') { select undef, undef, undef, 0.1 }
sleep 1;
note("finished $$");
"""
TICK = """#!/bin/sh
date +%s >>"$STATE_DIRECTORY/ticks"
"""
SETTINGS: dict[str, Any] = {
    "environment": {"GREETING": "hello"},
    "processes": {"worker": {"command": ["bin/worker"], "count": 2}},
    "timers": {"tick": {"command": ["bin/tick"], "calendar": "*:*:*"}},
}


@pytest.fixture(scope="module")
def revision(commit: Commit) -> str:
    """A release with a worker, and a command for a timer."""

    def add(clone: Path) -> None:
        for name, text in (("worker", WORKER), ("tick", TICK)):
            (clone / "bin").mkdir(exist_ok=True)
            (clone / "bin" / name).write_text(text)
            (clone / "bin" / name).chmod(0o755)

    return commit("with-processes", add)


@pytest.fixture
def worker(droplet: AppDroplet, revision: str) -> Iterator[AppDroplet]:
    """A droplet on which the release is activated; nothing of it runs."""
    droplet.machine.run(f"rm -f {STATE}/worked {STATE}/ticks")
    running(droplet, revision, **SETTINGS)
    yield droplet
    moved(droplet)


def move(droplet: AppDroplet, *run: str) -> Ended:
    """Let the droplet run some processes, and no others, as a run does."""
    unit = processes_unit(APP)
    droplet.clean(unit)
    return droplet.finish(droplet.start(unit, processes_program(droplet.app(), run)))


def moved(droplet: AppDroplet, *run: str) -> dict[str, ProcessRecord]:
    """Let the droplet run some processes, which has to succeed; return where each unit stands."""
    report = move(droplet, *run)
    assert report.state is JobState.SUCCESS, report.lines
    told = {one["unit"]: one for one in report.answers["processes"]["processes"]}
    now = stands(droplet)
    assert now.keys() == told.keys()
    for unit, one in told.items():
        # A timer's command may have begun or ended between the two looks.
        assert {one["state"], now[unit]["state"]} in ({one["state"]}, {"waiting", "running"}), unit
    return told


def stands(droplet: AppDroplet) -> dict[str, ProcessRecord]:
    """Return where each process and timer stands, by its unit."""
    found = droplet.call(Verb.FACTS, kind="processes", seconds=20)["facts"]["processes"]
    return {one["unit"]: one for one in found}


def states(droplet: AppDroplet) -> dict[str, str]:
    return {unit: one["state"] for unit, one in stands(droplet).items()}


def pids(droplet: AppDroplet) -> list[str]:
    """Return the processes of the app but for those of its web server, by the kernel's account."""
    found = droplet.machine.run(f"grep -l '{SYSTEM_NAME}-' /proc/[0-9]*/cgroup", check=False).stdout
    return found.split()


def main_pids(droplet: AppDroplet) -> str:
    """Return the first process of each worker, as systemd knows it."""
    return droplet.machine.run(["systemctl", "show", "--property=MainPID", *WORKERS]).stdout


def written(droplet: AppDroplet, name: str) -> list[str]:
    return droplet.machine.run(f"cat {STATE}/{name}", check=False).stdout.splitlines()


def cut_power(droplet: AppDroplet) -> None:
    droplet.machine.power_off()
    droplet.machine.power_on()
    droplet.machine.wait_ready()
    until(partial(answers, droplet), "the app answers again")


def test_they_run_only_where_they_are_asked_for_and_after_a_power_cut(
    worker: AppDroplet, revision: str
) -> None:
    release = worker.facts().current
    assert states(worker) == {TIMER: "stopped", **dict.fromkeys(WORKERS, "stopped")}
    assert not pids(worker)
    told = moved(worker, "worker", "tick")
    assert [told[unit]["state"] for unit in WORKERS] == ["running"] * 2
    assert told[TIMER]["state"] in ("waiting", "running")
    assert {one["release"] for one in told.values()} == {release}
    assert {(one["enabled"], one["droplets"]) for one in told.values()} == {(True, "all"), (True, "one")}
    until(lambda: len(written(worker, "ticks")) > 1, "the timer has run")
    assert {line.split()[2] for line in written(worker, "worked")} == {"hello"}
    shown = worker.machine.run(["systemctl", "show", "--property=User,NoNewPrivileges", WORKERS[0]]).stdout
    assert shown.split() == [f"User={SYSTEM_NAME}", "NoNewPrivileges=yes"]
    worker.machine.run(["systemd-analyze", "security", "--threshold=12", WORKERS[0]])

    before = main_pids(worker)
    moved(worker, "worker", "tick")
    assert main_pids(worker) == before, "what is up is left alone"
    cut_power(worker)
    until(lambda: states(worker)[WORKERS[1]] == "running", "they start with the droplet")

    moved(worker)
    assert not pids(worker)
    assert len([line for line in written(worker, "worked") if line.startswith("finished")]) == 2
    ticks = written(worker, "ticks")
    cut_power(worker)
    assert states(worker) == {TIMER: "stopped", **dict.fromkeys(WORKERS, "stopped")}
    assert (written(worker, "ticks"), pids(worker)) == (ticks, [])
    assert answering(worker) == revision


def test_the_units_are_what_systemd_expects(worker: AppDroplet) -> None:
    verified = worker.machine.run(["systemd-analyze", "verify", *WORKERS, TIMER], check=False)
    assert SYSTEM_NAME not in verified.stdout + verified.stderr
    # What root adds for all processes and timers.
    place = f"/etc/systemd/system/{SYSTEM_NAME}-.service.d"
    worker.machine.run(
        f"mkdir -p {place} && printf '[Service]\\nEnvironment=LOCAL=yes\\n' >{place}/local.conf"
    )
    try:
        worker.machine.run("systemctl daemon-reload")
        for unit in (WORKERS[0], TIMER.replace(".timer", ".service")):
            shown = worker.machine.run(["systemctl", "show", "--property=Environment", unit]).stdout
            assert "LOCAL=yes" in shown
        web = worker.machine.run(["systemctl", "show", "--property=Environment", SYSTEM_NAME]).stdout
        assert "LOCAL=yes" not in web
    finally:
        worker.machine.run(f"rm -r {place}; systemctl daemon-reload")


def with_command(*command: str, **settings: Any) -> dict[str, Mapping[str, Any]]:
    return {**SETTINGS, "processes": {"worker": {"command": ["bin/worker", *command], **settings}}}


def test_a_worker_that_ignores_its_signal_is_killed_after_its_time_with_what_it_has_forked(
    worker: AppDroplet, revision: str
) -> None:
    running(worker, revision, None, **with_command("stubborn", stop_timeout=2))
    moved(worker, "worker")
    assert len(pids(worker)) > 1
    moved(worker)
    assert not pids(worker)
    assert not [line for line in written(worker, "worked") if line.startswith("finished")]


def test_a_restored_web_server_does_not_wait_for_a_worker_which_ends_before_it_is_started_again(
    worker: AppDroplet, revision: str
) -> None:
    running(worker, revision, None, **with_command("stubborn", stop_timeout=25))
    known = worker.facts().activated[0]
    moved(worker, "worker", "tick")
    report = worker.restore(known)
    assert report.state is JobState.SUCCESS, report.lines
    old = set(pids(worker))
    assert old, "the web server was waited for"
    assert states(worker) == {TIMER: "stopped", WORKERS[0]: "stopping"}
    assert not any(one["enabled"] for one in stands(worker).values())
    moved(worker, "worker")
    assert states(worker)[WORKERS[0]] == "running"
    assert not old & set(pids(worker))
    # What ignores its signal need not be waited for once more.
    worker.machine.run(["systemctl", "kill", "--signal=KILL", WORKERS[0]])


@pytest.mark.parametrize(("mode", "words"), [("dies", "no queue at 10.0.0.5"), ("daemon", "")])
def test_a_worker_that_does_not_stay_up_is_reported_and_clients_are_served(
    worker: AppDroplet, revision: str, mode: str, words: str
) -> None:
    running(worker, revision, None, **with_command(mode))
    report = move(worker, "worker", "tick")
    assert report.state is JobState.FAILED
    assert failure_cause(report.lines).startswith(f"worker@1 does not stay up: {words}"), report.lines
    assert stands(worker)[TIMER]["enabled"]
    assert answering(worker) == revision


def test_a_release_with_fewer_ends_those_of_the_one_before_and_is_restored_with_them(
    worker: AppDroplet, revision: str, revisions: dict[str, str]
) -> None:
    moved(worker, "worker", "tick")
    known = worker.facts().activated[0]
    # A droplet of the live color is never deployed to; one that came back unnoticed may be.
    running(worker, revisions["v2"])
    assert (states(worker), pids(worker)) == ({}, [])
    assert worker.machine.run(f"ls /etc/systemd/system/ | grep {SYSTEM_NAME}-", check=False).stdout == ""
    report = worker.restore(known)
    assert report.state is JobState.SUCCESS, report.lines
    assert states(worker) == {TIMER: "stopped", **dict.fromkeys(WORKERS, "stopped")}
    moved(worker, "worker")
    assert states(worker)[WORKERS[0]] == "running"
    assert answering(worker) == revision


def test_a_job_that_is_killed_half_way_has_disabled_them_and_the_next_finishes(worker: AppDroplet) -> None:
    moved(worker, "worker", "tick")
    unit = processes_unit(APP)
    worker.clean(unit)
    worker.start(unit, processes_program(worker.app(), ()))
    until(lambda: not any(one["enabled"] for one in stands(worker).values()), "they are disabled")
    worker.machine.run(f"systemctl kill --signal=KILL {unit}", check=False)
    cut_power(worker)
    assert states(worker) == {TIMER: "stopped", **dict.fromkeys(WORKERS, "stopped")}
    moved(worker, "worker")
    moved(worker)
    assert not pids(worker)


def test_a_program_that_the_release_has_not_is_refused(worker: AppDroplet, revision: str) -> None:
    settings = {**SETTINGS, "processes": {"mailer": {"command": ["bin/mailer"]}}}
    assert refused(worker, revision, **settings) == "the process mailer: there is no program bin/mailer"
    assert answering(worker) == revision
    assert set(states(worker)) == {TIMER, *WORKERS}


def answers(droplet: AppDroplet) -> bool:
    with suppress(requests.ConnectionError):
        return droplet.get("/health").ok
    return False
