"""How long a lock lasts without a sign of life from its holder."""

from __future__ import annotations

import time

from bluegreen.color import Color
from tests.unit.local_haproxy import Deployed, LocalHaproxy
from tests.waiting import until

FIRST = {"owner": "alice", "run_id": "run-1", "ref": "v1"}
NEXT = {"owner": "bob", "run_id": "run-2", "ref": "v2"}


def expire(deployed: Deployed) -> None:
    """Let the holder's lease run out."""
    expires = deployed.world.ok("lock", owner="deploy", run_id="run-1", ref="v1", lease=1)["until"]
    until(lambda: time.time() > expires)


def test_a_lease_lasts_two_minutes_unless_its_holder_says_otherwise(proxy: LocalHaproxy) -> None:
    assert 110 < proxy.ok("lock", **FIRST)["until"] - time.time() <= 120
    assert 290 < proxy.ok("lock", **FIRST, lease=300)["until"] - time.time() <= 300
    assert "until" in proxy.refused("lock", **NEXT)[1]


def test_a_lease_is_renewed_by_asking_and_by_working(deployed: Deployed) -> None:
    held = deployed.status()["lock"]["until"]
    renewed = deployed.world.ok("renew", token=deployed.token)["until"]
    assert renewed > held
    deployed.sync(deployed.world.render())
    assert deployed.status()["lock"]["until"] > renewed


def test_a_run_that_waits_for_a_person_has_a_longer_lease_until_it_goes_on(deployed: Deployed) -> None:
    waiting = deployed.world.ok("renew", token=deployed.token, lease=4000)["until"]
    assert 3990 < waiting - time.time() <= 4000
    assert 3990 < deployed.world.ok("renew", token=deployed.token)["until"] - time.time() <= 4000
    assert deployed.world.ok("renew", token=deployed.token, lease=60)["until"] - time.time() <= 60


def test_a_lease_that_ran_out_is_taken_over_with_a_word_about_whose_it_was(deployed: Deployed) -> None:
    expire(deployed)
    taken = deployed.world.ok("lock", **NEXT)
    assert taken["token"] > deployed.token
    assert "run run-1" in taken["took_over"]
    code, message = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "lock_lost"
    assert "bob" in message
    assert deployed.world.get()[1] == "blue"


def test_the_switch_of_a_run_whose_lease_ran_out_is_taken_back_for_the_next(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    expire(deployed)
    deployed.world.ok("lock", **NEXT)
    assert deployed.pending() is None
    assert deployed.world.get()[1] == "blue"


def test_a_late_run_goes_on_if_nobody_took_its_lock(deployed: Deployed) -> None:
    expire(deployed)
    assert deployed.switch(Color.GREEN)["to"] == "green"
