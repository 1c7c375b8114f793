"""How the agent gets on a proxy: whole or not at all, and not while somebody relies on another."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.hooks import proxy as hook_module
from bluegreen.hooks.droplet import CommandResult
from bluegreen.hooks.proxy import (
    AGENT_SOURCE,
    BOOT_UNIT_SOURCE,
    ProxyHook,
    install_script,
)
from tests.unit.local_haproxy import Deployed
from tests.waiting import until

SYSTEMCTL = """#!/bin/sh
# Enables the one unit there is.
[ "$*" = "--quiet enable bluegreen-boot.service" ] && ln -sf "$UNITS/bluegreen-boot.service" "$UNITS/enabled"
"""
OLD_AGENT = "# the one before\n"


class LocalDroplet:
    """Runs here what is sent to a droplet."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.droplet = SimpleNamespace(name="lb-1")
        self.environment = environment
        self.scripts = 0

    def run(self, command: Sequence[str], stdin: str = "", silence: float = 0) -> CommandResult:
        done = subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def run_script(self, script: str) -> CommandResult:
        self.scripts += 1
        return self.run(["bash", "-s"], script)


class Place:
    """Where a proxy's files are, below a directory."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.agent = root / "lib/bluegreen/lb_agent.py"
        self.units = root / "units"
        self.boot_unit = self.units / "bluegreen-boot.service"
        self.enabled = self.units / "enabled"
        monkeypatch.setattr(hook_module, "AGENT_PATH", str(self.agent))
        monkeypatch.setattr(hook_module, "BOOT_UNIT_PATH", str(self.boot_unit))
        monkeypatch.setattr(hook_module, "BOOT_UNIT_ENABLED", str(self.enabled))
        systemctl = root / "bin/systemctl"
        systemctl.parent.mkdir()
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        path = f"{systemctl.parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "UNITS": str(self.units)}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-s"], input=script, env=self.environment, capture_output=True, text=True, check=False
        )

    def files(self) -> list[Path]:
        return sorted([*self.agent.parent.glob("*"), *self.units.glob("*")])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_agent_and_boot_unit_are_installed_and_the_unit_is_enabled(place: Place) -> None:
    done = place.run(install_script())
    assert (done.returncode, done.stderr) == (0, "")
    assert place.agent.read_bytes() == AGENT_SOURCE.read_bytes()
    assert place.boot_unit.read_bytes() == BOOT_UNIT_SOURCE.read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (place.agent, place.boot_unit)] == [0o755, 0o644]
    assert place.files() == [place.agent, place.boot_unit, place.enabled]


def lengths(script: str) -> Iterator[int]:
    """Where to cut: here and there, and everywhere in the last lines."""
    yield from range(0, len(script) - 60, 997)
    yield from range(len(script) - 60, len(script))


def test_a_script_that_is_cut_anywhere_installs_nothing_or_everything(place: Place) -> None:
    script = install_script()
    place.agent.parent.mkdir(parents=True)

    def installs_half(length: int) -> bool:
        place.run(script[:length])
        whole = [place.agent, place.boot_unit, place.enabled]
        if place.files() == whole and len(script) - length < len("n </dev/null\n"):
            # Only its last word was cut, so this was all of it.
            shutil.rmtree(place.units)
            place.agent.unlink()
        return bool(place.files())

    # One at a time: what one leaves behind is not to be taken for another's.
    assert [length for length in lengths(script) if installs_half(length)] == []


def test_an_agent_that_arrives_damaged_is_not_installed(place: Place) -> None:
    place.agent.parent.mkdir(parents=True)
    place.agent.write_text(OLD_AGENT)
    done = place.run(install_script().replace("one verb a call", "one verb a calm", 1))
    assert done.returncode != 0
    assert "did not arrive as it was sent" in done.stderr
    assert place.agent.read_text() == OLD_AGENT
    assert place.files() == [place.agent]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    found = subprocess.run(
        ["shellcheck", "--shell=bash", "-"],
        input=install_script(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_an_answer_is_waited_for_longer_than_the_agent_takes_in_any_case(agent: ModuleType) -> None:
    longest = {verb: seconds + agent.ALARM_AFTER for verb, seconds in agent.DEADLINES.items()}
    # At boot nobody waits for it, and a probe says itself how long it takes.
    assert longest.keys() == agent.VERBS.keys() == {*hook_module.ANSWER_WITHIN, "boot", "probe"}
    assert [verb for verb, seconds in hook_module.ANSWER_WITHIN.items() if seconds <= longest[verb]] == []
    assert agent.ALARM_AFTER < hook_module.PROBE_MARGIN


class Busy:
    """A proxy with an older agent, whom this project's hook meets."""

    def __init__(self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = deployed.world
        self.deployed = deployed
        self.agent = self.world.installed_agent
        self.agent.write_text(AGENT_SOURCE.read_text() + OLD_AGENT)
        unit = self.world.root / "bluegreen-boot.service"
        shutil.copy(BOOT_UNIT_SOURCE, unit)
        monkeypatch.setattr(hook_module, "AGENT_PATH", str(self.agent))
        monkeypatch.setattr(hook_module, "BOOT_UNIT_PATH", str(unit))
        monkeypatch.setattr(hook_module, "BOOT_UNIT_ENABLED", str(unit))
        self.droplet = LocalDroplet(self.world.environment)

    def hook(self) -> ProxyHook:
        return ProxyHook(self.droplet)  # type: ignore[arg-type]

    def lock(self, hook: ProxyHook, **more: Any) -> int:
        request = {"owner": "bob", "run_id": "dag/another", "ref": "v2", "lease": 60, **more}
        return int(hook.call("lock", **request)["token"])

    def let_the_lease_run_out(self) -> None:
        expires = self.world.ok("renew", token=self.deployed.token, lease=1)["until"]
        until(lambda: self.world.ok("status")["now"] > expires)

    @property
    def is_replaced(self) -> bool:
        return self.agent.read_bytes() == AGENT_SOURCE.read_bytes()


@pytest.fixture
def busy(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Busy:
    return Busy(deployed, monkeypatch)


def test_another_version_is_replaced_once(busy: Busy) -> None:
    busy.world.ok("unlock", token=busy.deployed.token)
    busy.hook().install_agent()
    assert busy.is_replaced
    busy.hook().install_agent()
    assert busy.droplet.scripts == 1


def test_the_agent_of_a_run_that_holds_the_lock_stays_until_the_lock_is_ours(busy: Busy) -> None:
    hook = busy.hook()
    hook.install_agent()
    assert not busy.is_replaced
    with pytest.raises(ProxyError, match="locked by") as refused:
        busy.lock(hook)
    assert refused.value.code == "locked"
    assert not busy.is_replaced

    # That run has died: its lock is taken over.
    busy.lock(hook, over=busy.deployed.token)
    assert busy.is_replaced


def test_the_agent_of_a_lock_whose_lease_has_run_out_is_replaced(busy: Busy) -> None:
    busy.let_the_lease_run_out()
    busy.hook().install_agent()
    assert busy.is_replaced


def test_the_agent_whose_timer_takes_a_switch_back_stays(busy: Busy) -> None:
    busy.deployed.switch(Color.GREEN)
    busy.let_the_lease_run_out()
    hook = busy.hook()
    hook.install_agent()
    assert not busy.is_replaced

    # Taking the lock decides what becomes of the switch.
    busy.lock(hook)
    assert busy.is_replaced


def test_an_agent_that_says_nothing_is_replaced(busy: Busy) -> None:
    busy.agent.write_text(AGENT_SOURCE.read_text()[:9000])
    busy.hook().install_agent()
    assert busy.is_replaced


def test_a_lock_with_which_no_agent_can_be_installed_is_given_back(
    busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = busy.hook()
    hook.install_agent()
    monkeypatch.setattr(busy.droplet, "run_script", lambda _script: CommandResult(1, "", "no space left"))
    with pytest.raises(ProxyError, match="cannot install the agent: no space left"):
        busy.lock(hook, over=busy.deployed.token)
    assert busy.world.ok("status")["lock"] is None
