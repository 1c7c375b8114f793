"""A part is ended with all that it started, and with nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.session import Family, Part, kill_recorded
from sandbox.processes import ProcessId
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

# A child in a process group of its own that lost its environment, and one in a session of its own:
# Airflow's processes are like the one, what its tasks start may be like the other.
SCRIPT = """
import os, subprocess, sys, time
group = subprocess.Popen(["sleep", "600"], process_group=0, env={})
session = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(group.pid, session.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    part = made(tmp_path, SCRIPT)
    yield part
    part.kill()


def made(directory: Path, script: str) -> Part:
    environment = {"PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", script]
    return Part("part", command, environment, directory / "part.log", directory / "part.json")


def children(part: Part) -> list[ProcessId]:
    until(lambda: part.log.read_text().endswith("\n"))
    found = [ProcessId.of(int(word)) for word in part.log.read_text().split()]
    assert all(found)
    return [process for process in found if process]


@pytest.mark.parametrize("end", [Part.stop, Part.kill])
def test_everything_that_it_started_ends_with_it(part: Part, end: Callable[[Part], None]) -> None:
    part.start()
    started = children(part)
    assert len(started) == 2
    end(part)
    assert not any(process.alive() for process in started)
    assert not part.alive()


def test_what_a_dead_part_has_left_behind_is_ended_by_its_record(part: Part, tmp_path: Path) -> None:
    part.start()
    started = children(part)
    record = (tmp_path / "part.json").read_text()
    first = ProcessId.from_json(json.loads(record)["first"])
    first.kill()
    assert all(process.alive() for process in started)

    assert kill_recorded(tmp_path / "part.json")
    assert not any(process.alive() for process in started)
    assert not kill_recorded(tmp_path / "part.json")


def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        now = ProcessId.of(stranger.pid)
        assert now
        earlier = ProcessId(now.pid, now.started - 1, now.boot)
        (tmp_path / "part.json").write_text(json.dumps(Family(earlier, "0" * 32).to_json()))
        assert not kill_recorded(tmp_path / "part.json")
        assert now.alive()
        stranger.kill()


def test_a_part_can_be_started_again(part: Part) -> None:
    part.start()
    children(part)
    part.kill()
    part.start()
    assert part.alive()


def test_a_part_that_ended_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    part = made(tmp_path, "print('one'); print('port in use'); raise SystemExit(3)")
    part.start()
    until(lambda: not part.alive())
    with pytest.raises(DemoError, match=r"part ended with status 3: port in use .*part\.log"):
        part.check()
    part.stop()
