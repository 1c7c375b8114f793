"""The units of processes and timers: the web server's release and cage, and commands of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.droplet.process_units import is_own, is_unit_file, release_in, units_in
from agent.processes import Kind, RunOn
from agent.protocol import Verb
from bluegreen.release.cage import CAGE
from bluegreen.release.processes import processes_program, processes_unit
from bluegreen.release.release import pairing
from tests.unit.app_settings import settings_of

RELEASE, DIGEST = f"{'a' * 40}-{'d' * 16}", "c" * 64
DIRECTORY = f"/opt/app-shop/releases/{RELEASE}"
BOTH = """
processes:
  worker:
    {command: [bin/worker, "100% $HOME; a b"], count: 3, stop_signal: SIGQUIT, stop_timeout: 90,
     overlap: true}
timers:
  clean-up:
    {command: [cleanup], calendar: "Mon..Fri *-*-* 03:00 Europe/Berlin", timeout: 60, memory_max: 512M}
"""


@pytest.fixture
def units(tmp_path: Path) -> dict[str, str]:
    return dict(pairing(settings_of(tmp_path, more=BOTH), RELEASE, DIGEST, "10.0.0.5").units)


def said(text: str, name: str) -> list[str]:
    """Return the values of a setting in a unit."""
    return re.findall(rf"(?m)^{name}=(.*)$", text)


def test_a_process_is_a_template_and_a_timer_two_units(units: dict[str, str]) -> None:
    assert set(units) == {
        "app-shop-worker@.service",
        "app-shop-clean-up.service",
        "app-shop-clean-up.timer",
    }
    assert all(is_unit_file("app-shop", file) for file in units)
    assert all(RELEASE in text for text in units.values())
    # Droplets take what lacks this for somebody else's, and refuse the next release.
    assert all(is_own("app-shop", file, text) for file, text in units.items())
    assert not is_own("app-shop", "app-shop-copy@.service", units["app-shop-worker@.service"])
    assert not is_own("app-shop2", "app-shop2-worker@.service", units["app-shop-worker@.service"])
    assert release_in(units["app-shop-worker@.service"]) == RELEASE


def test_they_run_with_what_the_web_server_runs_with(tmp_path: Path, units: dict[str, str]) -> None:
    web = pairing(settings_of(tmp_path), RELEASE, DIGEST, "10.0.0.5").unit_text
    for file in ("app-shop-worker@.service", "app-shop-clean-up.service"):
        for name in ("User", "WorkingDirectory", "Environment", "EnvironmentFile", "StateDirectory", "UMask"):
            assert said(units[file], name) == said(web, name) != []
        for one in CAGE:
            assert f"\n{one}\n" in units[file]


def test_each_has_its_own_command_and_its_own_end(units: dict[str, str]) -> None:
    worker, command = units["app-shop-worker@.service"], units["app-shop-clean-up.service"]
    assert said(worker, "ExecStart") == ['/usr/bin/env bin/worker "100%% $$HOME; a b"']
    assert (said(worker, "KillSignal"), said(worker, "TimeoutStopSec")) == (["SIGQUIT"], ["90"])
    assert (said(worker, "Restart"), said(worker, "MemoryMax")) == (["always"], [])
    assert said(command, "ExecStart") == ["/usr/bin/env cleanup"]
    assert (said(command, "TimeoutStartSec"), said(command, "TimeoutStopSec")) == (["60"], ["30"])
    assert (said(command, "Type"), said(command, "MemoryMax")) == (["oneshot"], ["512M"])
    # Only the timer starts it.
    assert said(command, "WantedBy") == []
    timer = units["app-shop-clean-up.timer"]
    assert said(timer, "OnCalendar") == ["Mon..Fri *-*-* 03:00 Europe/Berlin"]
    assert said(timer, "Persistent") == []


def test_a_droplet_reads_back_what_systemd_does_not_know(units: dict[str, str]) -> None:
    known = units_in("app-shop", units)
    worker, timer = known["worker"], known["clean-up"]
    assert (worker.kind, worker.droplets, worker.overlap) == (Kind.PROCESS, RunOn.ALL, True)
    assert worker.units == [f"app-shop-worker@{number}.service" for number in (1, 2, 3)]
    assert worker.program == f"{DIRECTORY}/bin/worker"
    assert (timer.kind, timer.droplets, timer.overlap) == (Kind.TIMER, RunOn.ONE, False)
    assert (timer.units, timer.program) == (["app-shop-clean-up.timer"], "")
    assert timer.calendar == "Mon..Fri *-*-* 03:00 Europe/Berlin"


def test_an_app_without_them_is_the_pairing_that_it_was(tmp_path: Path) -> None:
    without = pairing(settings_of(tmp_path), RELEASE, DIGEST, "10.0.0.5")
    assert without.units == ()
    with_both = pairing(settings_of(tmp_path, more=BOTH), RELEASE, DIGEST, "10.0.0.5")
    assert with_both.unit_text == without.unit_text
    assert with_both.digest != without.digest


def test_a_job_runs_those_that_are_named(tmp_path: Path) -> None:
    program = processes_program(settings_of(tmp_path, more=BOTH), {"worker", "clean-up"})
    assert program["steps"] == [
        {
            "verb": Verb.PROCESSES.value,
            "request": {
                "app": "app-shop",
                "unit": processes_unit("shop"),
                "run": ["clean-up", "worker"],
            },
        }
    ]
    with pytest.raises(ValueError, match="is not an app's id"):
        processes_unit("../shop")
