"""A sandbox comes and goes without a trace, also when it dies, and leaves everything else alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError
from sandbox.processes import ProcessId, cgroup_roots
from tests.sandbox.droplets import Shop
from tests.waiting import until

pytestmark = pytest.mark.sandbox


def traces(directory: Path) -> list[str]:
    """Return all that shows of a sandbox's existence outside of its directory."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in links.splitlines() if str(directory) in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [command] if str(directory) in command else []
    return found


def cgroups() -> set[str]:
    return {str(path) for root in cgroup_roots() for path in root.glob("bluegreen-sandbox-*")}


def run_cli(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments, "--dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_down_leaves_nothing_and_up_starts_afresh(
    sandbox: Sandbox, private_key: Path, tmp_path: Path
) -> None:
    before = cgroups()
    shown = run_cli("up", "--name", "second", directory=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["name"] == "second"
    box = Sandbox.attach(tmp_path)
    assert box.gateway != sandbox.gateway
    assert oct(box.layout.description.stat().st_mode)[-3:] == "600"
    (machine,) = Shop(box, private_key).order("one-1", tags=("env:blue",))
    front = Shop(box, private_key).order_balancer("front", "env:blue")
    status = run_cli("status", directory=tmp_path).stdout
    assert f"one-1  active  {machine.address}" in status
    assert "env:blue" in status
    assert f"load balancer {front} leads to one-1\n" in status
    again = run_cli("up", directory=tmp_path)
    assert json.loads(again.stdout)["pid"] == json.loads(shown.stdout)["pid"]
    assert traces(tmp_path)

    assert run_cli("down", directory=tmp_path).stdout == "down\n"
    assert traces(tmp_path) == []
    assert cgroups() == before
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "repositories", "server.log"}
    assert run_cli("down", directory=tmp_path).stdout == f"no sandbox in {tmp_path}\n"
    refused = run_cli("status", directory=tmp_path)
    assert (refused.returncode, "no sandbox is up in" in refused.stderr) == (1, True)


@pytest.mark.parametrize("command", ["down", "up"])
def test_the_leftovers_of_one_that_was_killed_are_removed_and_nobody_elses(
    sandbox: Sandbox, shop: Shop, private_key: Path, tmp_path: Path, command: str
) -> None:
    (neighbour,) = shop.order("neighbour-1")
    before = cgroups()
    box = Sandbox.up(tmp_path)
    Shop(box, private_key).order("one-1", "one-2", tags=("web",))
    Shop(box, private_key).order_balancer("front", "web")
    pid = json.loads(box.layout.description.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: ProcessId.of(pid) is None, "the server is dead")
    assert len([line for line in traces(tmp_path) if line.startswith("systemd-nspawn")]) == 2
    assert [line for line in traces(tmp_path) if "haproxy -W" in line]
    with pytest.raises(SandboxError, match="no sandbox is up"):
        Sandbox.attach(tmp_path)

    assert run_cli(command, directory=tmp_path).returncode == 0
    if command == "up":
        assert Sandbox.attach(tmp_path).droplets() == []
        assert not [line for line in traces(tmp_path) if line.startswith("systemd-nspawn")]
        run_cli("down", directory=tmp_path)
    assert traces(tmp_path) == []
    assert cgroups() == before
    assert neighbour.run("echo alive").stdout == "alive\n"
    shop.client().droplets.destroy(neighbour.droplet_id)


def test_the_next_one_unmounts_what_a_killed_one_left_wherever_that_is_by_now(
    sandbox: Sandbox, private_key: Path, tmp_path: Path
) -> None:
    before, old, renamed = cgroups(), tmp_path / "old", tmp_path / "renamed"
    box = Sandbox.up(old)
    Shop(box, private_key).order("one-1")
    pid = json.loads(box.layout.description.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: ProcessId.of(pid) is None, "the server is dead")
    # As pytest does with the directory of an old run, before it removes it.
    old.rename(renamed)
    assert traces(renamed)
    with Sandbox.up(tmp_path / "next"):
        assert traces(renamed) == traces(old) == []
        assert isinstance(sandbox.machines(), list), "one that is up is left alone"
    assert cgroups() <= before


HOLDER = """
import signal, sys
from sandbox import Sandbox
Sandbox.up(sys.argv[1], tied=sys.argv[2] == "tied")
signal.pause()
"""


@pytest.mark.parametrize("tied", [True, False])
def test_one_goes_down_with_the_process_that_has_it_if_it_is_tied_to_that(tmp_path: Path, tied: bool) -> None:
    up = tmp_path / "sandbox.json"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "tied" if tied else "free"],
        cwd=Path(__file__).parents[2],
    ) as holder:
        until(lambda: up.exists() or holder.poll() is not None, "it is up")
        holder.kill()
    if tied:
        until(lambda: traces(tmp_path) == [], "it has gone down")
        assert not up.exists()
    else:
        assert Sandbox.attach(tmp_path).droplets() == []
        run_cli("down", directory=tmp_path)


def test_a_process_that_got_a_recorded_pid_later_is_never_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        found = ProcessId.of(innocent.pid)
        assert found is not None
        recorded = {**found.to_json(), "started": found.started - 1}
        (tmp_path / "server.json").write_text(json.dumps(recorded))
        machine = tmp_path / "machines" / "bgs1-1"
        machine.mkdir(parents=True)
        (machine / "processes.json").write_text(json.dumps([recorded]))
        assert run_cli("down", directory=tmp_path).returncode == 0
        assert innocent.poll() is None
        innocent.kill()
