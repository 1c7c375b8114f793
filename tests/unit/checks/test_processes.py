"""What a dry run and a status find of an app's processes and timers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.processes import ProcessState
from bluegreen.checks import processes
from bluegreen.checks.facts import Facts, Reading
from bluegreen.checks.finding import Finding
from bluegreen.checks.run import BLOCKING, findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.processes import ProcessFact
from tests.unit.app_with_processes import PROCESSES, app_with_processes, process
from tests.unit.facts import MAIN, NOW, R1, facts, server
from tests.unit.my_app import app_with
from tests.unit.statuses import status

SETTLES = "bluegreen_provision__my_perl_app, or the next deploy, lets blue alone run it"
PENDING = {"from": "green", "to": "blue", "revision": "a" * 40, "run_id": "deploy/2", "deadline": 2000.0}


def running(**changes: Any) -> tuple[ProcessFact, ...]:
    return process("worker", runs=True, **changes), process("cleanup", runs=True)


IDLE = (process("worker", runs=False), process("cleanup", runs=False))


def known(blue: Any, green: Any, **changes: Any) -> Facts:
    """Blue is live; each color has one droplet, which runs this."""
    servers = {"blue-1": server(processes=blue), "green-1": server(processes=green)}
    return facts(**{"app": app_with_processes(), "servers": servers, **changes})


def found(facts: Facts) -> list[Finding]:
    return findings_in(facts, (processes.section, processes.placement, processes.health))


def said(facts: Facts) -> list[str]:
    return [f"{one.severity}: {one}" for one in found(facts)]


def test_a_unit_that_no_deploy_has_written_is_an_error_where_a_deploy_would_meet_it() -> None:
    stranger = server(foreign_units=("app-my_perl_app-backup.timer",))
    for name, severity in (("green-1", "error"), ("blue-1", "warning")):
        servers = {"blue-1": server(), "green-1": server(), name: stranger}
        [one] = findings_in(facts(servers=servers), (processes.units,))
        assert (one.severity, one.subject) == (severity, name)
        assert one.what.startswith(
            "/etc/systemd/system/app-my_perl_app-backup.timer was not written by a deploy"
        )
    # What a dry run finds, a deploy refuses before it touches anything.
    assert processes.units in BLOCKING


def test_a_live_color_that_runs_everything_is_no_finding() -> None:
    assert said(known(running(), IDLE)) == []


def test_that_nobody_runs_a_process_is_an_error() -> None:
    assert said(known(IDLE, IDLE)) == [f"error: blue: no droplet runs cleanup and worker; {SETTLES}"]


def test_that_both_colors_run_a_process_is_an_error_and_each_droplet_of_the_idle_one_is_named() -> None:
    idle = (process("worker", runs=True), process("cleanup", runs=False))
    assert said(known(running(), idle)) == [
        f"error: green: both colors run worker; {SETTLES}",
        f"warning: green-1: it runs worker, and blue is live; {SETTLES}",
    ]


def test_processes_that_stayed_on_the_idle_color_are_warned_of() -> None:
    assert said(known(IDLE, running())) == [
        f"warning: green-1: it runs cleanup and worker, and blue is live; {SETTLES}",
        f"warning: blue-1: it does not run cleanup and worker; {SETTLES}",
    ]


def test_while_a_switch_is_not_decided_processes_belong_to_the_color_from_before() -> None:
    undecided = {"lb-1": status(Color.BLUE, pending=PENDING)}
    assert said(known(IDLE, running(), statuses=undecided)) == []


def test_a_live_droplet_that_cannot_be_asked_would_keep_its_processes_after_a_deploy() -> None:
    gone = Reading[Any](BlueGreenError("no answer"), NOW, NOW)
    servers = {"blue-1": gone, "green-1": server(processes=IDLE)}
    [line] = said(known((), (), servers=servers))
    assert line.startswith("error: blue-1: it cannot be asked what it runs (no answer), so a deploy would go")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"state": ProcessState.RESTARTING, "result": "exit-code", "exit_status": 2, "restarts": 7},
            "worker@1 is restarting: it ended with exit status 2, and was started again 7 times",
        ),
        (
            {"result": "signal", "exit_status": 9, "restarts": 3, "since": NOW - 10},
            "worker@1 does not stay up: it ended with signal 9, and was started again 3 times",
        ),
        (
            {"release": "x" * 20},
            f"worker@1 is of the release {'x' * 20}, and {R1} is the current one",
        ),
    ],
)
def test_a_process_that_does_not_run_well_is_warned_of(changes: dict[str, Any], what: str) -> None:
    [line] = said(known(running(**changes), IDLE))
    assert line.startswith(f"warning: blue-1: {what}; ")


STOPPED, FAILED = ProcessState.STOPPED, ProcessState.FAILED


@pytest.mark.parametrize(
    ("worker", "cleanup", "lines"),
    [
        ({"state": STOPPED}, {}, ["error: blue: no droplet runs worker"]),
        ({}, {"state": STOPPED}, ["error: blue: no droplet runs cleanup"]),
        ({}, {"state": FAILED}, ["error: blue: no droplet runs cleanup"]),
        # Its command was started by hand.
        ({}, {"up": False}, ["error: blue: no droplet runs cleanup"]),
        ({}, {"state": ProcessState.STOPPING, "up": True}, []),
        ({"state": STOPPED, "enabled": False}, {}, ["error: blue: no droplet runs worker"]),
        ({"enabled": False}, {}, ["warning: blue-1: it would not run worker after a restart of it"]),
        ({}, {"enabled": False}, ["warning: blue-1: it would not run cleanup after a restart of it"]),
        ({"state": ProcessState.STARTING}, {}, []),
        ({"up": False}, {}, []),
    ],
)
def test_what_is_enabled_runs_only_if_systemd_is_at_work_on_it(
    worker: dict[str, Any], cleanup: dict[str, Any], lines: list[str]
) -> None:
    live = (process("worker", runs=True, **worker), process("cleanup", runs=True, **cleanup))
    assert said(known(live, IDLE)) == [f"{line}; {SETTLES}" for line in lines]


def test_one_of_two_instances_that_was_stopped_by_hand_is_a_warning() -> None:
    second = process("worker", runs=True, state=STOPPED, unit="app-my_perl_app-worker@2.service")
    assert said(known((*running(), second), IDLE)) == [
        f"warning: blue-1: it does not run worker; {SETTLES}",
    ]


def test_what_only_starts_with_the_idle_droplet_runs_nowhere_now() -> None:
    idle = (process("worker", runs=True, state=STOPPED), process("cleanup", runs=False))
    off = (process("worker", runs=False), process("cleanup", runs=True))
    assert said(known(off, idle)) == [
        f"error: blue: no droplet runs worker; {SETTLES}",
        f"warning: green-1: it runs worker, and blue is live; {SETTLES}",
    ]


def test_a_process_that_fell_once_long_ago_is_no_finding() -> None:
    assert said(known(running(restarts=1, since=NOW - 3600), IDLE)) == []


def test_a_timer_whose_last_run_failed_is_warned_of() -> None:
    failed = process("cleanup", runs=True, result="timeout")
    [line] = said(known((process("worker", runs=True), failed), IDLE))
    assert line.startswith("warning: blue-1: cleanup ran last with timeout; ")


def test_what_is_left_of_another_release_is_warned_of() -> None:
    left = process("importer", runs=True, droplets=None)
    [line] = said(known((*running(), left), IDLE))
    assert line.startswith("warning: blue-1: it runs importer, and is not to; ")


def test_an_instance_beyond_the_count_is_named_by_its_number() -> None:
    extra = process("worker", runs=True, droplets=None, unit="app-my_perl_app-worker@9.service")
    [line] = said(known((*running(), extra), IDLE))
    assert line.startswith("warning: blue-1: it runs worker@9, and is not to; ")


def test_an_app_whose_file_has_no_section_any_more_is_not_deployed_while_its_processes_run() -> None:
    without = known(running(), IDLE, app=app_with())
    blocking = [f"{one.severity}: {one}" for one in findings_in(without, BLOCKING)]
    [line] = [line for line in blocking if "setting processes" in line]
    assert line.startswith(
        "error: setting processes: droplets run cleanup and worker, and the app's file has"
    )
    assert line.endswith("write processes: {} until a deploy has gone live")
    assert said(known(running(), IDLE, app=app_with(processes={}))) == []


def test_an_app_without_processes_is_no_finding() -> None:
    assert said(known((), (), app=app_with())) == []


@pytest.mark.parametrize(
    ("command", "is_found"),
    [
        ("bin/missing", False),
        ("bin/worker", True),
        ("./bin/worker", True),
        ("local/bin/minion", True),
        ("/usr/bin/env", True),
        ("sqitch", True),
    ],
)
def test_a_program_that_the_revision_does_not_have_is_an_error(command: str, is_found: bool) -> None:
    app = app_with(processes={"worker": {"command": [command]}})
    source = replace(MAIN, files=frozenset({"bin/worker", "app.psgi"}))
    lines = [str(one) for one in processes.programs(facts(app=app, source=source))]
    assert is_found is (lines == [])
    assert is_found or lines[0].startswith(f"setting processes.worker: {command} is not in main (")


def test_a_program_may_come_of_a_build_command() -> None:
    app = app_with(processes=PROCESSES, build={"commands": [["make"]]})
    assert list(processes.programs(facts(app=app, source=replace(MAIN, files=frozenset())))) == []


def test_a_status_shows_each_process_and_timer_of_each_droplet() -> None:
    shown = status_of(known(running(restarts=2, since=NOW), IDLE), [], [])
    text = "\n".join(" ".join(line.split()) for line in lines_of(shown))
    assert "droplet process or timer state revision" in text
    assert "blue-1 worker@1 running since 2027-01-15 08:00 UTC, started again 2 times none" in text
    assert "green-1 cleanup stopped none" in text
