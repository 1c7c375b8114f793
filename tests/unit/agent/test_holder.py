"""The agent on a proxy: nobody keeps the others waiting for longer than his call may take."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.call_lock import LONGEST_CALL
from agent.protocol import Verb
from bluegreen.agent_bundle import agent_bundle
from bluegreen.color import Color
from tests.unit import hostile_app
from tests.unit.agent.harm import green_does_harm
from tests.unit.hostile_app import hostile_server
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, REVISIONS, Deployed, LocalHaproxy, fire, free_port
from tests.waiting import until

HANGING = '#!/bin/sh\necho $$ >"$BLUEGREEN_ROOT/hanging"\nexec sleep 600\n'


@contextmanager
def call_under_way(
    world: LocalHaproxy, verb: str, request: dict[str, Any]
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        world.command(verb, request), env=world.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        # A reader is in nobody's group but this test's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextmanager
def hanging_check(world: LocalHaproxy) -> Iterator[Path]:
    """Let HAProxy's check of a configuration hang; the file that names the process."""
    program = world.root / "bin/haproxy"
    program.write_text(HANGING)
    program.chmod(0o755)
    yield world.root / "hanging"
    program.unlink()


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def assert_back(deployed: Deployed) -> None:
    assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)
    assert deployed.world.get()[:2] == (200, "blue")
    assert deployed.world.ok("renew", token=deployed.token)


@pytest.mark.timeout(120)
def test_a_switch_that_is_stopped_keeps_no_traffic_on_the_new_color(deployed: Deployed) -> None:
    request = deployed.switch_request(Color.GREEN, confirm_within=4)
    with (
        green_does_harm(deployed, hostile_app.silence, b"x-forwarded-for: 127.0.0.1"),
        call_under_way(deployed.world, "switch", request) as switch,
    ):
        until(lambda: deployed.maps() == GREEN_LIVE)
        switch.send_signal(signal.SIGSTOP)
        answer = fire(deployed.world, -1)
        assert (answer["ok"], answer["reverted"]) == (True, True), answer
        assert switch.wait() == -signal.SIGKILL
    assert_back(deployed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("by", ["the timer", "the run"])
def test_a_call_that_is_stopped_is_ended_with_its_programs_when_the_switch_is_to_be_taken_back(
    deployed: Deployed, by: str
) -> None:
    world = deployed.world
    deployed.switch(Color.GREEN, confirm_within=4)
    sync = deployed.sync_request(world.render(timeout_server=51))
    with hanging_check(world) as hanging, call_under_way(world, "sync", sync) as stopped:
        until(lambda: hanging.exists() and hanging.read_text().endswith("\n"))
        stopped.send_signal(signal.SIGSTOP)
        answer = fire(world, -1) if by == "the timer" else world.ok("revert", token=deployed.token)
        assert answer["reverted"], answer
        assert stopped.wait() == -signal.SIGKILL
        until(lambda: not is_running(int(hanging.read_text())))
    assert_back(deployed)


def test_a_call_that_may_take_its_time_is_waited_for(deployed: Deployed) -> None:
    world = deployed.world
    deployed.switch(Color.GREEN)
    slow = '#!/bin/sh\nsleep 3\nexec /usr/sbin/haproxy "$@"\n'
    (world.root / "bin/haproxy").write_text(slow)
    (world.root / "bin/haproxy").chmod(0o755)
    sync = deployed.sync_request(world.render(timeout_server=51))
    with call_under_way(world, "sync", sync) as other:
        until(lambda: world.config.with_name(".haproxy.cfg.candidate").exists())
        assert fire(world, -1)["reverted"]
        assert other.stdout is not None
        assert json.loads(other.stdout.read())["ok"]
    assert_back(deployed)


HOLDER = """
import fcntl, json, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
started = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
record = {"pid": os.getpid(), "started": started, "end": 0.0}
os.pwrite(lock, json.dumps(record).encode() if sys.argv[2] == "known" else b"", 0)
if sys.argv[3] == "child":
    os.set_inheritable(lock, True)
    others = [(os.POSIX_SPAWN_CLOSE, 1), (os.POSIX_SPAWN_CLOSE, 2)]
    print(os.posix_spawn("/bin/sleep", ["sleep", "600"], {}, setpgroup=0, file_actions=others))
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def overdue_holder(world: LocalHaproxy, known: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the flock, and no time left."""
    file = world.root / "run/bluegreen.lock"
    with suppress(FileNotFoundError):
        os.truncate(file, 0)
    command = [sys.executable, "-c", HOLDER, str(file), known, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children: list[int] = []
    try:
        until_held = iter(process.stdout.readline, "held\n")
        children += [int(line) for line in until_held]
        yield process
    finally:
        process.kill()
        process.communicate()
        for child in children:
            os.kill(child, signal.SIGKILL)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("known", ["known", "unknown"])
def test_an_overdue_call_is_ended_whether_it_could_write_itself_down_or_not(
    deployed: Deployed, known: str
) -> None:
    deployed.world.install_edited(
        "call_lock.py", lambda text: text.replace("seconds + LONGEST_CALL", "seconds + 0")
    )
    with overdue_holder(deployed.world, known, "alone", agent_bundle().name) as holder:
        assert deployed.world.ok("renew", token=deployed.token)
        assert holder.wait() == -signal.SIGKILL


@pytest.mark.timeout(120)
def test_a_lock_that_nobody_is_left_to_give_back_is_replaced(deployed: Deployed) -> None:
    with overdue_holder(deployed.world, "known", "child", agent_bundle().name) as holder:
        holder.kill()
        holder.wait()
        # As if it waited for a disk: what it had locked stays locked.
        assert deployed.world.ok("renew", token=deployed.token)
        assert deployed.switch(Color.GREEN)["to"] == "green"


@pytest.mark.timeout(120)
def test_a_process_that_is_no_agent_is_not_ended(deployed: Deployed) -> None:
    with overdue_holder(deployed.world, "known", "alone", "another program") as holder:
        assert deployed.world.ok("renew", token=deployed.token)
        assert holder.poll() is None


@pytest.mark.timeout(120)
def test_a_reader_that_hangs_keeps_nobody_waiting(deployed: Deployed) -> None:
    world, port = deployed.world, free_port()
    with hostile_server("127.0.0.31", port, "d" * 40, hostile_app.silence) as silent:
        request = {"servers": [{"address": "127.0.0.31", "port": port}], "path": "/", "timeout": 60}
        with call_under_way(world, "probe", request) as probe:
            until(lambda: silent.asked)
            probe.send_signal(signal.SIGSTOP)
            assert deployed.switch(Color.GREEN)["to"] == "green"
            assert world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])


def test_a_switch_may_not_take_longer_than_it_has_until_it_is_taken_back(deployed: Deployed) -> None:
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    deployed.switch(Color.GREEN, confirm_within=7)
    record = json.loads((deployed.world.root / "run/bluegreen.lock").read_text())
    assert began < record["end"] - 7 < time.clock_gettime(time.CLOCK_BOOTTIME)
    # The same for whatever is called meanwhile.
    deployed.world.ok("renew", token=deployed.token)
    renewed = json.loads((deployed.world.root / "run/bluegreen.lock").read_text())
    assert renewed["pid"] != record["pid"]
    assert abs(renewed["end"] - record["end"]) < 0.1


def test_a_holder_that_wrote_no_end_down_is_given_the_time_of_the_longest_call_that_holds_the_lock() -> None:
    assert max(verb.deadline for verb in (Verb.SYNC, Verb.SWITCH, Verb.START_JOB)) == LONGEST_CALL
