"""What a droplet reports of processes and timers, and that an app without them costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.facts.processes import processes
from agent.processes import MOST_RECORDS
from agent.system import CallDeadline
from tests.unit.agent.droplet.local_processes import APP, ProcessDroplet, process_text


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessDroplet:
    return ProcessDroplet(tmp_path, monkeypatch)


def test_each_unit_of_the_activated_release_is_reported_whether_it_runs_or_not(
    droplet: ProcessDroplet,
) -> None:
    droplet.put_unit(f"{APP}-worker@2.service", "activating auto-restart")
    found = processes(CallDeadline("facts", 20), {"app": APP})["processes"]
    assert [(one["unit"], one["state"], one["enabled"], one["droplets"]) for one in found] == [
        (f"{APP}-cleanup.timer", "stopped", False, "one"),
        (f"{APP}-worker@1.service", "stopped", False, "all"),
        (f"{APP}-worker@2.service", "restarting", False, "all"),
    ]


def test_an_app_without_any_does_not_ask_systemd(droplet: ProcessDroplet) -> None:
    droplet.files.replace({})
    assert processes(CallDeadline("facts", 20), {"app": APP}) == {"processes": []}
    assert droplet.told == []


def test_what_nobody_has_asked_for_does_not_make_the_answer_endless(droplet: ProcessDroplet) -> None:
    units = {
        f"{APP}-a{number}@.service": process_text(droplet.active, f"a{number}", count=99)
        for number in range(3)
    }
    droplet.files.replace(units)
    found = processes(CallDeadline("facts", 20), {"app": APP})["processes"]
    assert len(found) == MOST_RECORDS
