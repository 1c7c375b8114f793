"""How the agent gets on a machine: whole or not at all, and beside the versions that somebody relies on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.call_lock import LOCK_WAIT
from agent.protocol import ALARM_AFTER, Verb
from agent.proxy.boot_unit import ENABLED, unit_text
from bluegreen.agent_bundle import agent_bundle, memory_command, memory_input
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.hooks.droplet import CommandResult
from bluegreen.hooks.proxy import ProxyHook
from tests.unit.local_haproxy import Deployed, LocalHaproxy, fire


class LocalDroplet:
    """Runs here what is sent to a droplet."""

    def __init__(self, world: LocalHaproxy) -> None:
        self.droplet = SimpleNamespace(name="lb-1")
        self.world = world
        self.commands: list[tuple[list[str], float]] = []

    def run(self, command: Sequence[str], stdin: str | bytes = "", silence: float = 0) -> CommandResult:
        self.commands.append((list(command), silence))
        here = [f"{self.world.root}{word}" if word.startswith("/usr/local/") else word for word in command]
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(here, input=data, env=self.world.environment, capture_output=True, check=False)
        return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    def installations(self) -> int:
        return sum(Verb.INSTALL_AGENT.value in command for command, _ in self.commands)


class Versions:
    """A proxy with an older agent, whom this project's hook meets."""

    def __init__(self, world: LocalHaproxy) -> None:
        self.world = world
        self.ours = agent_bundle()
        self.droplet = LocalDroplet(world)

    def install_old(self) -> Path:
        """Let the proxy have an older version only, and return its file."""
        self.world.installed_agent.unlink()
        self.world.install_edited("__init__.py", lambda text: text + "# the one before\n")
        return self.world.installed_agent

    def hook(self) -> ProxyHook:
        return ProxyHook(self.droplet)  # type: ignore[arg-type]

    @property
    def directory(self) -> Path:
        return self.world.root / "usr/local/lib/bluegreen"

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def boots(self) -> str:
        """The unit that runs at the next boot."""
        return (self.world.root / "etc/systemd/system" / ENABLED).read_text()


@pytest.fixture
def versions(proxy: LocalHaproxy) -> Versions:
    return Versions(proxy)


WHO = {"owner": "alice", "run_id": "run-1", "ref": "v1"}


def from_memory(world: LocalHaproxy, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    command = memory_command(Verb.INSTALL_AGENT)
    return subprocess.run(command, input=stdin, env=world.environment, capture_output=True, check=False)


def test_the_lock_enables_the_unit_that_runs_this_version_at_boot(versions: Versions) -> None:
    versions.hook().call(Verb.LOCK, **WHO)
    path = versions.world.installed_agent
    assert versions.boots() == unit_text(str(path)).decode()
    unit = versions.world.root / "etc/systemd/system/bluegreen-boot.service"
    assert unit.stat().st_mode & 0o777 == 0o644
    assert f"ExecStart=/usr/bin/python3 {path} boot\n" in versions.boots()


def test_a_unit_that_is_enabled_already_is_left_alone(versions: Versions) -> None:
    versions.hook().call(Verb.LOCK, **WHO)
    versions.hook().call(Verb.LOCK, **WHO)
    enabled = [call for call in versions.world.systemctl_calls() if "enable" in call]
    assert enabled == ["--quiet enable bluegreen-boot.service"]


def test_an_agent_that_is_not_there_is_installed_by_the_first_call_that_changes_something(
    versions: Versions,
) -> None:
    versions.world.installed_agent.unlink()
    assert versions.hook().call(Verb.LOCK, **WHO)["token"]
    assert versions.world.installed_agent.read_bytes() == versions.ours.data
    assert versions.world.installed_agent.stat().st_mode & 0o777 == 0o755
    assert versions.droplet.installations() == 1
    versions.hook().call(Verb.LOCK, **WHO)
    assert versions.droplet.installations() == 1


def test_reading_installs_nothing(versions: Versions) -> None:
    versions.world.installed_agent.unlink()
    installed = versions.hook().status().agent
    assert installed is not None
    assert (installed.path, installed.difference) == (str(versions.world.installed_agent), ())
    assert versions.files() == []


def test_an_agent_that_a_hand_has_changed_is_shown_and_replaced(versions: Versions) -> None:
    versions.world.install_edited("system.py", lambda text: text.replace("1 << 16", "1 << 17", 1))
    changed = versions.world.installed_agent.rename(versions.directory / versions.ours.name)
    installed = versions.hook().status().agent
    assert installed is not None
    assert installed.difference is not None
    assert {"-OUTPUT_LIMIT = 1 << 17", "+OUTPUT_LIMIT = 1 << 16"} <= set(installed.difference)

    versions.hook().install_agent()
    assert changed.read_bytes() == versions.ours.data
    versions.hook().install_agent()
    assert versions.droplet.installations() == 1
    unchanged = versions.hook().status().agent
    assert unchanged is not None
    assert unchanged.difference is None


def lengths(whole: bytes) -> Iterator[int]:
    """Where to cut: here and there, and in the last bytes."""
    yield from range(0, len(whole) - 8, len(whole) // 12)
    yield from range(len(whole) - 8, len(whole))


def test_an_agent_that_is_cut_anywhere_installs_nothing(versions: Versions) -> None:
    versions.world.installed_agent.unlink()
    data = versions.ours.compressed
    cut = (from_memory(versions.world, data[:length]) for length in lengths(data))
    assert [done for done in cut if done.returncode == 0] == []
    assert versions.files() == []
    assert from_memory(versions.world, memory_input({})).returncode == 0
    assert versions.files() == [versions.ours.name]


def test_what_a_killed_installation_left_behind_is_overwritten(
    versions: Versions,
) -> None:
    half = versions.directory / f".{versions.ours.name}.new"
    versions.world.installed_agent.unlink()
    half.write_bytes(versions.ours.data[:1000])
    versions.hook().install_agent()
    assert versions.files() == [versions.ours.name]
    assert (
        versions.world.installed_agent.parent.joinpath(versions.ours.name).read_bytes() == versions.ours.data
    )


def test_a_version_that_nothing_names_is_removed(versions: Versions) -> None:
    old = versions.install_old()
    versions.hook().install_agent()
    assert not old.exists()
    assert versions.files() == [versions.ours.name]


def test_the_version_of_the_run_that_holds_the_lock_stays_until_the_lock_is_ours(versions: Versions) -> None:
    old = versions.install_old()
    token = versions.world.ok("lock", **WHO)["token"]
    hook = versions.hook()
    hook.install_agent()
    assert versions.files() == sorted([old.name, versions.ours.name])
    bob = {"owner": "bob", "run_id": "run-2", "ref": "v2"}
    with pytest.raises(ProxyError, match="locked by alice") as refused:
        hook.call(Verb.LOCK, **bob)
    assert refused.value.code == "locked"
    assert old.name in versions.boots()
    # That run goes on with its version.
    assert versions.world.ok("renew", token=token)

    # That run has died: its lock is taken over.
    hook.call(Verb.LOCK, over=token, **bob)
    assert versions.ours.name in versions.boots()
    assert old.name not in versions.boots()


def transient_unit(world: LocalHaproxy, agent: Path) -> Path:
    """A timer that is armed, as systemd writes it down."""
    directory = world.root / "run/systemd/transient"
    directory.mkdir(parents=True, exist_ok=True)
    unit = directory / "bluegreen-revert-1.service"
    unit.write_text(f'[Service]\nExecStart=\nExecStart="/usr/bin/python3" "{agent}" "revert" "{{}}"\n')
    return unit


def test_the_version_whose_timer_takes_a_switch_back_stays_and_does_it(
    deployed: Deployed,
) -> None:
    versions = Versions(deployed.world)
    old = versions.install_old()
    deployed.switch(Color.GREEN)
    armed = transient_unit(deployed.world, old)
    (deployed.world.root / "etc/systemd/system" / ENABLED).write_text("")
    versions.hook().install_agent()
    assert old.exists()
    answer = fire(deployed.world, -1)
    assert (answer["reverted"], answer["to"]) == (True, "blue")

    armed.unlink()
    deployed.world.installed_agent = versions.directory / versions.ours.name
    deployed.world.installed_agent.unlink()
    versions.hook().install_agent()
    assert not old.exists()


def test_a_version_that_runs_stays(versions: Versions) -> None:
    old = versions.install_old()
    command = [sys.executable, str(old), "lock", "-"]
    with subprocess.Popen(command, env=versions.world.environment, stdin=subprocess.PIPE) as waiting:
        # It waits for its request.
        (versions.directory / versions.ours.name).unlink(missing_ok=True)
        assert from_memory(versions.world, memory_input({})).returncode in (0, 1)
        assert old.exists()
        waiting.kill()


def test_a_switch_lets_the_version_that_arms_it_run_at_boot(deployed: Deployed) -> None:
    versions = Versions(deployed.world)
    assert versions.ours.name in versions.boots()
    old = versions.install_old()
    deployed.switch(Color.GREEN)
    assert old.name in versions.boots()


def test_a_lock_with_which_no_boot_unit_can_be_enabled_is_given_back(versions: Versions) -> None:
    (versions.world.root / "bin/systemctl").write_text("#!/bin/sh\necho 'no space left'; exit 1\n")
    with pytest.raises(ProxyError, match="cannot be enabled: no space left") as refused:
        versions.hook().call(Verb.LOCK, **WHO)
    assert refused.value.code == "not_installed"
    assert versions.world.ok("status")["lock"] is None


def test_a_lock_that_is_given_back_has_completed_the_record_of_a_run_that_left_it_behind(
    versions: Versions,
) -> None:
    begun = {"dag_id": "deploy", "run_id": "run-1", "attempt": 1}
    token = versions.world.ok("lock", **WHO, begun=begun)["token"]
    (versions.world.root / "etc/systemd/system" / ENABLED).unlink()
    (versions.world.root / "bin/systemctl").write_text("#!/bin/sh\necho 'no space left'; exit 1\n")
    with pytest.raises(ProxyError, match="cannot be enabled: no space left"):
        versions.hook().call(Verb.LOCK, owner="bob", run_id="run-2", ref="v2", over=token)
    [record] = versions.hook().ledger(10)
    assert (record["run_id"], record["found_by"]) == ("run-1", "run-2")


def test_an_installation_is_over_before_a_revert_timer_gives_up_waiting_for_it() -> None:
    assert Verb.INSTALL_AGENT.deadline <= LOCK_WAIT


def test_an_agent_for_which_there_is_no_room_says_so(versions: Versions) -> None:
    shutil.rmtree(versions.directory)
    versions.directory.write_text("a file where the directory is to be")
    with pytest.raises(ProxyError, match=r"lb-1: .*cannot be written: ") as refused:
        versions.hook().install_agent()
    assert refused.value.code == "not_installed"


def test_an_agent_that_is_no_agent_is_shown_with_what_it_said(versions: Versions) -> None:
    versions.world.installed_agent.write_text("print('hello')")
    with pytest.raises(ProxyError, match="the agent's 'renew' broke: hello"):
        versions.hook().call(Verb.RENEW, token=1)


def test_an_answer_is_waited_for_longer_than_the_agent_takes_in_any_case(versions: Versions) -> None:
    versions.hook().call(Verb.LOCK, **WHO)
    versions.hook().status()
    for verb in (Verb.LOCK, Verb.STATUS):
        [silence] = {seconds for command, seconds in versions.droplet.commands if verb.value in command}
        assert silence > verb.deadline + ALARM_AFTER
    versions.hook().probe(address="127.0.0.99", port=9, path="/", timeout=7)
    assert versions.droplet.commands[-1][1] > 7 + ALARM_AFTER
