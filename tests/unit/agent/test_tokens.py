"""The agent on a proxy: tokens only grow, and leases end, whatever the clock says."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import next_token
from bluegreen.traffic.own_switch import is_kept, is_taken_back
from tests.unit.local_haproxy import PEER, REVISIONS, Deployed, LocalHaproxy, peer

ALICE = {"owner": "alice", "run_id": "run-1", "ref": "v1"}
BOB = {"owner": "bob", "run_id": "run-2", "ref": "v2"}
YEARS = 10 * 365 * 86400

# Before the agent's own first line: the clock that people set is somewhere else.
SET_CLOCK = "import time\n_time = time.time\ntime.time = lambda: _time() + {seconds}\n"


def set_clock(world: LocalHaproxy, seconds: int) -> None:
    """Set the proxy's clock, by so much from the real time."""
    clock = SET_CLOCK.format(seconds=seconds)
    world.install_edited("system.py", lambda text: text.replace("import time\n", clock, 1))


def status(world: LocalHaproxy) -> ProxyStatus:
    return ProxyStatus.parse(world.ok("status"))


@pytest.mark.parametrize("seconds", [YEARS, -YEARS])
def test_a_clock_that_is_wrong_has_no_part_in_tokens(proxy: LocalHaproxy, seconds: int) -> None:
    first = proxy.ok("lock", **ALICE)["token"]
    proxy.ok("unlock", token=first)
    set_clock(proxy, seconds)
    assert proxy.ok("lock", **BOB)["token"] == first + 1


def test_a_token_is_at_least_what_others_know(proxy: LocalHaproxy) -> None:
    assert status(proxy).last_token is None
    token = proxy.ok("lock", **ALICE, at_least=1796000000)["token"]
    assert token == status(proxy).last_token == 1796000000
    # The same run, which met another proxy that knows more.
    assert proxy.ok("lock", **ALICE, at_least=1796000007)["token"] == 1796000007
    assert proxy.refused("renew", token=token)[0] == "lock_lost"
    proxy.ok("unlock", token=1796000007)
    assert proxy.ok("lock", **BOB, at_least=3)["token"] == 1796000008


def test_a_token_that_a_droplet_knows_makes_the_next_one_greater(proxy: LocalHaproxy) -> None:
    token = proxy.ok("lock", **ALICE)["token"]
    proxy.ok("renew", token=token, known_token=5000)
    proxy.ok("renew", token=token)
    proxy.ok("unlock", token=token)
    assert proxy.ok("lock", **BOB)["token"] == 5001


def test_a_run_may_keep_its_lock_and_needs_a_token_greater_than_all_others(
    proxy: LocalHaproxy,
) -> None:
    proxy.ok("lock", **ALICE, at_least=7)
    held, other = (
        status(proxy),
        ProxyStatus.parse({**proxy.ok("status"), "lock": None}),
    )
    assert next_token("run-1", [held]) == 7
    assert next_token("run-2", [held]) == 8
    assert next_token("run-1", [held, other]) == 8
    assert next_token("run-1", []) is None


@pytest.mark.parametrize("seconds", [YEARS, -YEARS])
def test_a_lease_is_no_longer_and_no_shorter_when_the_clock_is_set(deployed: Deployed, seconds: int) -> None:
    set_clock(deployed.world, seconds)
    assert deployed.world.refused("lock", **BOB)[0] == "locked"
    said: Any = deployed.status()
    assert 100 < said["lock"]["until"] - said["now"] < 121
    assert deployed.world.ok("renew", token=deployed.token)


@pytest.mark.parametrize("seconds", [YEARS, -YEARS])
def test_a_run_knows_its_own_switch_when_the_clock_was_set_meanwhile(
    deployed: Deployed, seconds: int
) -> None:
    deployed.switch(Color.GREEN)
    set_clock(deployed.world, seconds)
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])
    assert is_kept({"lb-1": status(deployed.world)}, "run-1")
    deployed.switch(Color.BLUE)
    set_clock(deployed.world, seconds)
    deployed.world.ok("revert", token=deployed.token)
    assert is_taken_back({"lb-1": status(deployed.world)}, "run-1")


def test_a_switch_has_its_time_to_be_confirmed_when_the_clock_was_set_meanwhile(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN, peers=[PEER], confirm_within=60)
    deployed.world.stop_haproxy()
    set_clock(deployed.world, YEARS)
    with peer(deployed, "green"):
        # The others have not decided yet, so what they do now is not followed.
        assert deployed.world.ok("boot")["reverted"]
