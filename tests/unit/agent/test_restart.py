"""What the agent remembers of the time before its machine was restarted."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import AgentError
from agent.proxy.lock import LockStore
from agent.proxy.switch_state import time_left
from agent.system import since_boot, since_start
from bluegreen.color import Color
from tests.unit.local_haproxy import Deployed

FIRST = {"owner": "alice", "run_id": "run-1", "ref": "v1"}
NEXT = {"owner": "bob", "run_id": "run-2", "ref": "v2"}
LEASE = 120.0


def restart(file: Path, key: str) -> None:
    """Let what a file says under a key be of a boot before this one, which had run for long."""
    state = json.loads(file.read_text())
    state[key] |= {"boot": "of-another-boot", "end": 1e9}
    file.write_text(json.dumps(state))


@pytest.fixture(params=[0.0, 1e6], ids=["a machine", "a container on a host that runs for days"])
def first_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets the clock to so many seconds after the first process began."""
    began = float(request.param)
    ticks = began * os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr("agent.system.started_at", lambda pid: f"{ticks:.0f}" if pid == 1 else None)

    def runs_for(seconds: float) -> None:
        for module in ("agent.system", "agent.proxy.lock"):
            monkeypatch.setattr(f"{module}.since_boot", lambda: began + seconds)

    runs_for(1000)
    return runs_for


def test_a_lease_lasts_its_whole_length_from_a_restart_on(tmp_path: Path, first_process: Any) -> None:
    store = LockStore(tmp_path / "lock.json")
    token = store.take(FIRST, LEASE)["token"]
    restart(store.path, "holder")
    first_process(LEASE - 1)
    with pytest.raises(AgentError, match="locked by alice") as refusal:
        store.take(NEXT, LEASE)
    assert refusal.value.code == "locked"
    first_process(LEASE + 1)
    assert store.take(NEXT, LEASE)["token"] > token


def test_a_holder_goes_on_after_a_restart_with_a_lease_of_this_boot(
    tmp_path: Path, first_process: Any
) -> None:
    store = LockStore(tmp_path / "lock.json")
    token = store.take(FIRST, LEASE)["token"]
    restart(store.path, "holder")
    first_process(LEASE - 1)
    store.require({"token": token})
    first_process(2 * LEASE - 2)
    with pytest.raises(AgentError, match="locked by alice"):
        store.take(NEXT, LEASE)


@pytest.mark.parametrize(
    ("clock_set_by", "at_least", "at_most"), [(0, 30, 60), (-3600, 60, 60), (3600, -3600, -3500)]
)
def test_a_switch_from_before_a_restart_is_taken_back_by_the_clock_and_never_later_than_it_was_to_be(
    deployed: Deployed, clock_set_by: float, at_least: float, at_most: float
) -> None:
    deployed.switch(Color.GREEN, confirm_within=60)
    file = deployed.world.root / "var/lib/bluegreen/traffic.json"
    restart(file, "pending")
    state = json.loads(file.read_text())
    state["pending"]["deadline"] -= clock_set_by
    file.write_text(json.dumps(state))
    assert at_least <= time_left(state["pending"]) <= at_most
    deployed.world.stop_haproxy()
    assert deployed.world.ok("boot")["reverted"]
    armed = next(one for one in deployed.world.timers()[-1] if one.startswith("--on-active="))
    assert max(1, at_least) <= float(armed.partition("=")[2].rstrip("s")) <= max(1, at_most)


def test_the_first_process_did_not_begin_after_this_one() -> None:
    assert 0 < since_start() <= since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)
