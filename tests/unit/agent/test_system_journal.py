"""The machine's journal says which run did what."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.hooks.droplet import CommandResult
from bluegreen.hooks.proxy import ProxyHook
from tests.unit.local_haproxy import REVISIONS, Deployed, LocalHaproxy, fire

RUN = "bluegreen_deploy__shop/manual__2026-12-01T03:00:00+00:00"


class Journal:
    """Where systemd's journal listens."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def lines(self) -> list[str]:
        """What was written since, without the process id."""
        found: list[str] = []
        while True:
            try:
                head, _, text = self.socket.recv(65536).decode().partition("]: ")
            except BlockingIOError:
                return found
            severity, _, _ = head.partition("bluegreen-agent[")
            found.append(f"{severity}{text}")


class LocalDroplet:
    """A machine that the project's hook calls the agent on."""

    def __init__(self, world: LocalHaproxy) -> None:
        self.world = world

    def run(self, command: Sequence[str], stdin: str = "", silence: float = 0) -> CommandResult:
        here = [f"{self.world.root}{word}" if word.startswith("/usr/local/") else word for word in command]
        done = subprocess.run(
            here, input=stdin, env=self.world.environment, capture_output=True, text=True, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def journal(deployed: Deployed) -> Iterator[Journal]:
    one = Journal(deployed.world.root / "dev/log")
    yield one
    one.socket.close()


def test_a_call_that_changes_something_leaves_one_line_that_names_its_run(
    deployed: Deployed, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag_id, _, run_id = RUN.partition("/")
    for name, value in (("DAG_ID", dag_id), ("DAG_RUN_ID", run_id), ("TASK_ID", "switch_traffic")):
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)
    hook = ProxyHook(LocalDroplet(deployed.world))  # type: ignore[arg-type]
    hook.call(Verb.SWITCH, **deployed.switch_request(Color.GREEN))
    (line,) = journal.lines()
    asked = f"token {deployed.token}, to green, revision {REVISIONS[Color.GREEN]}"
    assert line == f"<14>switch: done, for {RUN} switch_traffic, {asked}"


def test_what_the_proxy_does_by_itself_is_said_to_be_of_no_run(deployed: Deployed, journal: Journal) -> None:
    deployed.switch(Color.GREEN)
    journal.lines()
    fire(deployed.world, -1)
    (line,) = journal.lines()
    assert line.startswith("<14>revert: done, for no run (a timer, the boot, a person)")


def test_a_refusal_is_a_warning_with_its_code(deployed: Deployed, journal: Journal) -> None:
    deployed.world.refused("switch", **{**deployed.switch_request(Color.GREEN), "token": deployed.token - 1})
    (line,) = journal.lines()
    assert line.startswith("<12>switch: lock_lost, for no run")


def test_reading_and_a_lease_that_goes_on_leave_no_line(deployed: Deployed, journal: Journal) -> None:
    deployed.world.ok("status")
    deployed.world.ok("renew", token=deployed.token)
    assert journal.lines() == []


def test_nothing_of_a_request_but_what_is_harmless_is_written(deployed: Deployed, journal: Journal) -> None:
    record = {"dag_id": "d", "run_id": "r", "attempt": 0, "message": "hunter2"}
    request = {
        "record": record,
        "by": "a\n<0>forged: x",
        "to": "a\nb",
        "app": "hunter2 " * 9,
        "secret": "hunter2",
    }
    deployed.world.ok("record", **request)
    assert journal.lines() == ["<14>record: done, for no run (a timer, the boot, a person)"]


@pytest.mark.parametrize("harm", ["away", "full", "no socket"])
def test_a_journal_that_does_not_read_keeps_nobody_waiting(deployed: Deployed, harm: str) -> None:
    path = deployed.world.root / "dev/log"
    path.parent.mkdir()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer,
    ):
        if harm == "full":
            deaf.bind(str(path))
            writer.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    writer.sendto(b"x" * 1000, str(path))
        elif harm == "no socket":
            path.write_text("")
        assert deployed.switch(Color.GREEN)
    assert deployed.status()["live"] == "green"
