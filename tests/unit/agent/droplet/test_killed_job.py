"""A deploy that is killed anywhere leaves one whole pairing running, and the next deploy finishes it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet.activated import Activated, Pairing
from agent.droplet.configuration import digest_on_disk, install_configuration
from agent.droplet.job import job
from agent.droplet.manifest import first_difference
from agent.droplet.process_units import UnitFiles
from agent.protocol import AgentError, Verb
from agent.release_name import is_release
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import ASKED, LocalDroplet, about, configuration
from tests.unit.agent.droplet.local_processes import units_of

# The job is killed at one line out of so many; `make chaos` takes the time for more of them.
STRIDE = 3 if os.environ.get("CHAOS") == "whole" else 17
# A job has more lines than this.
AT_LEAST = 100
# What installs, activates and cleans up; of what writes a release, the function that calls the others.
TRACED = ("job", "claims", "installing", "configuration", "activation", "activated", "process_units")
PLACES = tuple(f"/droplet/{name}.py" for name in TRACED)
UNPACK = "/droplet/artifact.py"
OLD, NEW = configuration({"A": "old"}), configuration({"A": "new"}, {"etc/config.yaml": (b"a: 1\n", 0o640)})

pytestmark = pytest.mark.timeout(1800)


class Droplet(LocalDroplet):
    """A droplet that runs one release, and on which a job installs and activates another."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, monkeypatch)
        old = self.put("b" * 40)
        before, after = (tuple(sorted(units_of(one).items())) for one in (old, self.release))
        self.old = Pairing(old, OLD["digest"], "unit of the old release\n", before)
        self.new = Pairing(self.release, NEW["digest"], "unit of the new release\n", after)
        UnitFiles(self.app).replace(dict(self.old.units))
        install_configuration(self.app, OLD)
        Activated(self.app).record(self.old, ASKED)
        for place in (self.unit, self.path / "loaded", self.path / "running"):
            place.write_text(self.old.unit_text)
        (self.app.root / "current").symlink_to(f"releases/{self.old.release}")
        self.sent = self.send()
        self.artifact = path / "artifact"
        shutil.copy(self.app.incoming / self.sent["name"], self.artifact)
        self.before = path / "before"
        shutil.copytree(self.path, self.before, symlinks=True)

    def forget(self) -> None:
        """Let the droplet be as it was before the first job."""
        shutil.rmtree(self.path)
        shutil.copytree(self.before, self.path, symlinks=True)

    def steps(self) -> dict[str, Any]:
        install = about(
            release=self.release,
            digest=self.built.digest,
            artifact=self.sent,
            configuration=NEW,
            packages=[],
            perl="/usr/bin/perl",
        )
        load = about(release=self.release, command=["true"], properties=[], timeout=5)
        activate = about(
            release=self.release,
            configuration=NEW["digest"],
            unit_text=self.new.unit_text,
            units=dict(self.new.units),
            # What was confirmed there before.
            kept=self.old.digest,
            keep=5,
            **ASKED,
        )
        requests = {"install": install, "load": load, "activate": activate}
        return {"steps": [{"verb": verb, "request": request} for verb, request in requests.items()]}

    def deploy(self) -> str:
        """Do the job to its end, and return why it failed."""
        shutil.copy(self.artifact, self.app.incoming / self.sent["name"])
        try:
            job(Call.of(Verb.JOB), self.steps())
        except AgentError as error:
            return str(error)
        return ""

    def deploy_killed_at(self, line: int) -> bool:
        """Do the job in a process that is killed at a line; False if it ends before."""
        child = os.fork()
        if child == 0:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            try:
                sys.settrace(kill_at(line))
                self.deploy()
            finally:
                os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def demand_whole_pairings(self) -> None:
        """What runs, and what would run after a restart, is one release with all that belongs to it."""
        for place in (self.unit, self.path / "loaded", self.path / "running"):
            text = place.read_text()
            assert text in (self.old.unit_text, self.new.unit_text)
            pairing = self.old if text == self.old.unit_text else self.new
            assert (self.app.releases / pairing.release).is_dir()
            assert (self.app.configurations / pairing.configuration).is_dir()
        for path in self.app.releases.iterdir():
            if is_release(path.name) and path.name == self.release:
                assert first_difference(path, APP, self.built.digest) is None
        for path in self.app.configurations.iterdir():
            assert ".partial." in path.name or digest_on_disk(path) == path.name
        assert self.current in (self.old.release, self.new.release)
        found = Activated(self.app).find(self.old.digest)
        assert found
        assert found.pairing == self.old

    @property
    def running_pairing(self) -> Pairing:
        """What the service's unit names."""
        return self.old if self.unit.read_text() == self.old.unit_text else self.new

    def demand_no_leftovers(self) -> None:
        units = UnitFiles(self.app)
        assert units.enabled() == set()
        assert units.texts() == dict(self.running_pairing.units)
        left = [path for path in self.path.rglob("*") if ".partial." in path.name or ".new" in path.name]
        assert left == []
        assert list(self.app.incoming.iterdir()) == []


def kill_at(line: int) -> Any:
    passed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        code = frame.f_code
        is_unpack = code.co_filename.endswith(UNPACK) and code.co_name == "unpack"
        if not is_unpack and not code.co_filename.endswith(PLACES):
            return None
        passed += event == "line"
        if passed == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    return Droplet(tmp_path, monkeypatch)


def killed_at_any_line(droplet: Droplet) -> Iterator[int]:
    """Let the job be killed at one line after the other, until it ends before it is killed."""
    for line in count(1, STRIDE):
        if not droplet.deploy_killed_at(line):
            assert line > AT_LEAST, "it was killed nowhere"
            return
        yield line


def test_a_deploy_killed_at_any_line_is_finished_by_the_next(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "problem_of", lambda _: "")
    for _ in killed_at_any_line(droplet):
        droplet.demand_whole_pairings()
        assert droplet.deploy() == ""
        droplet.demand_whole_pairings()
        droplet.demand_no_leftovers()
        assert droplet.read("running") == droplet.new.unit_text
        assert droplet.current == droplet.release
        assert Activated(droplet.app).all()[0].pairing == droplet.new
        droplet.forget()


def test_a_deploy_killed_at_any_line_of_its_way_back_goes_back_in_the_next(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "problem_of", lambda _: "it answers 500")
    for _ in killed_at_any_line(droplet):
        droplet.demand_whole_pairings()
        assert "it answers 500 (this droplet runs bbbbbbbbbbbb again)" in droplet.deploy()
        droplet.demand_whole_pairings()
        droplet.demand_no_leftovers()
        assert droplet.read("running") == droplet.old.unit_text
        assert droplet.current == droplet.old.release
        droplet.forget()
