"""A lock that a dead run has left behind."""

from __future__ import annotations

from bluegreen.color import Color
from tests.unit.local_haproxy import Deployed, LocalHaproxy, fire
from tests.unit.test_lb_agent_sync import lock

NEXT = {"owner": "deploy", "run_id": "run-2", "ref": "v2"}


def test_the_lock_of_a_run_that_is_over_goes_to_the_next_one(deployed: Deployed) -> None:
    token = deployed.world.ok("lock", **NEXT, over=deployed.token)["token"]
    assert token > deployed.token
    assert deployed.status()["lock"]["run_id"] == "run-2"
    assert deployed.world.refused("confirm", token=deployed.token, revision="a" * 40)[0] == "lock_lost"


def test_only_the_holder_that_was_found_to_be_over_is_replaced(deployed: Deployed) -> None:
    assert deployed.world.refused("lock", **NEXT, over=deployed.token - 1)[0] == "locked"
    assert deployed.status()["lock"]["run_id"] == "run-1"


def test_a_switch_that_nobody_is_left_to_confirm_is_taken_back_before_the_next_run_starts(
    deployed: Deployed,
) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("lock", **NEXT, over=deployed.token)
    status = deployed.status()
    assert (status["live"], status["pending"]) == ("blue", None)
    assert status["last_revert"]["run_id"] == "run-1"
    assert deployed.world.get()[1] == "blue"


def test_a_switch_that_cannot_be_taken_back_is_left_to_the_next_run(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    token = deployed.world.ok("lock", **NEXT, over=deployed.token)["token"]
    status = deployed.status()
    assert (status["live"], status["pending"], status["lock"]["token"]) == ("green", None, token)
    assert status["last_revert"]["refused"]


def test_traffic_that_cannot_go_back_yet_does_so_later_if_the_next_run_leaves_the_idle_droplets_alone(
    deployed: Deployed,
) -> None:
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    token = deployed.world.ok("lock", **NEXT, over=deployed.token, spares_idle=True)["token"]
    status = deployed.status()
    assert (status["live"], status["last_revert"]["refused"]) == ("green", True)
    deployed.set_health(Color.BLUE, True, True)
    # The run has not switched, so it does not take back; its report says who is live.
    assert not deployed.world.ok("revert", token=token)["reverted"]
    deployed.world.ok("unlock", token=token)
    assert deployed.status()["live"] == "green"
    fire(deployed.world, -1)
    assert deployed.status()["live"] == "blue"


def test_the_first_release_of_a_run_that_died_stays_whatever_runs_next(load_balancer: LocalHaproxy) -> None:
    deployed = Deployed.__new__(Deployed)
    deployed.world, deployed.token = load_balancer, lock(load_balancer)
    deployed.sync(load_balancer.render())
    deployed.switch(Color.BLUE)
    token = load_balancer.ok("lock", **NEXT, over=deployed.token)["token"]
    assert not load_balancer.ok("revert", token=token)["reverted"]
    load_balancer.ok("unlock", token=token)
    assert load_balancer.get()[:2] == (200, "blue")
    assert deployed.pending() is None
