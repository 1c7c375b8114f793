"""A lock that a dead run has left behind."""

from __future__ import annotations

import json

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.started import started
from tests.unit.local_haproxy import REVISIONS, Deployed, LocalHaproxy, fire, lock

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


@pytest.fixture
def stuck(deployed: Deployed) -> Deployed:
    """A dead run's switch to green cannot be taken back, because blue is not healthy; run-2 has the lock."""
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    deployed.token = deployed.world.ok("lock", **NEXT, over=deployed.token)["token"]
    status = deployed.status()
    assert (status["live"], status["lock"]["token"]) == ("green", deployed.token)
    assert status["last_revert"]["refused"]
    return deployed


def test_traffic_that_cannot_go_back_yet_does_so_later_if_the_next_run_leaves_the_idle_droplets_alone(
    stuck: Deployed,
) -> None:
    stuck.set_health(Color.BLUE, True, True)
    # The run has not switched, so it does not take back; its report says who is live.
    assert not stuck.world.ok("revert", token=stuck.token)["reverted"]
    stuck.world.ok("unlock", token=stuck.token)
    assert stuck.status()["live"] == "green"
    fire(stuck.world, -1)
    assert stuck.status()["live"] == "blue"


def test_traffic_never_goes_back_to_droplets_that_another_run_has_begun_to_change(stuck: Deployed) -> None:
    stuck.world.ok("renew", token=stuck.token, touches="blue")
    stuck.set_health(Color.BLUE, True, True)
    fire(stuck.world, -1)
    assert (stuck.status()["live"], stuck.pending()) == ("green", None)


def test_droplets_that_have_got_their_traffic_back_meanwhile_are_not_changed(stuck: Deployed) -> None:
    stuck.set_health(Color.BLUE, True, True)
    fire(stuck.world, -1)
    code, message = stuck.world.refused("renew", token=stuck.token, touches="blue")
    assert (code, message) == (
        "not_idle",
        "blue has the traffic; nothing was changed, trigger a new run",
    )


def test_a_run_that_has_switched_changes_no_droplet_any_more(deployed: Deployed) -> None:
    """Its tasks from before the switch may be cleared, and run again in its middle."""
    deployed.switch(Color.GREEN)
    for color in Color:
        assert deployed.world.refused("renew", token=deployed.token, touches=color)[0] == "not_idle"
    pending = deployed.pending()
    assert pending
    assert pending["to"] == "green"
    deployed.world.ok("confirm", token=deployed.token, revision=pending["revision"])
    assert deployed.world.refused("renew", token=deployed.token, touches="green")[0] == "not_idle"
    deployed.world.ok("renew", token=deployed.token, touches="blue")


def test_what_was_kept_on_each_color_is_remembered_with_all_that_it_ran_with(deployed: Deployed) -> None:
    wanted = started(REVISIONS[Color.GREEN], "green-1", "green-2")
    deployed.switch(Color.GREEN, started=wanted)
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])
    kept = deployed.status()["good"]
    assert kept["green"] == {"revision": REVISIONS[Color.GREEN], **wanted}
    assert kept["blue"] == {"revision": REVISIONS[Color.BLUE], **started(REVISIONS[Color.BLUE])}
    # A switch that nobody confirms changes nothing about that.
    other = started(REVISIONS[Color.BLUE], configuration="f" * 64)
    deployed.switch(Color.BLUE, started=other)
    deployed.world.ok("revert", token=deployed.token)
    assert deployed.status()["good"] == kept


def test_what_a_version_from_before_has_kept_and_armed_stops_no_run(deployed: Deployed) -> None:
    """It knew revisions alone, by which nothing can be started again."""
    deployed.switch(Color.GREEN)
    file = deployed.world.root / "var/lib/bluegreen/traffic.json"
    state = json.loads(file.read_text())
    del state["pending"]["started"]
    file.write_text(json.dumps({**state, "good": {"blue": REVISIONS[Color.BLUE]}}))
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])
    status = ProxyStatus.parse(deployed.status())
    assert (status.live, status.pending, status.good) == (Color.GREEN, None, {})


def test_a_switch_that_an_earlier_run_confirmed_is_no_proof_for_this_run(deployed: Deployed) -> None:
    """It was to the same revision; this run's own switch was taken back."""
    revision = REVISIONS[Color.BLUE]
    deployed.world.ok("confirm", token=deployed.token, revision=revision)
    token = deployed.world.ok("lock", **NEXT, over=deployed.token)["token"]
    code, message = deployed.world.refused("confirm", token=token, revision=revision)
    assert (code, message.partition(" waits")[0]) == ("reverted", f"no switch to {revision[:12]}")


def test_droplets_that_get_a_share_of_the_requests_are_not_changed(deployed: Deployed) -> None:
    deployed.world.ask(f"set map {deployed.world.map} idle_share 20")
    refusal = deployed.world.refused("renew", token=deployed.token, touches="green")
    assert "green is given 20 % of the requests" in refusal[1]


def test_a_run_that_was_cleared_gets_another_token_and_a_task_that_is_tried_again_does_not(
    deployed: Deployed,
) -> None:
    begun = {"dag_id": "deploy", "run_id": "run-1", "attempt": 0}
    first = {**NEXT, "run_id": "run-1", "begun": begun}
    second = {**first, "begun": {**begun, "attempt": 1}}
    deployed.world.ok("unlock", token=deployed.token)
    token = deployed.world.ok("lock", **first)["token"]
    assert deployed.world.ok("lock", **first)["token"] == token
    cleared = deployed.world.ok("lock", **second)
    assert cleared["token"] > token
    assert cleared["took_over"] is None
    assert deployed.world.refused("renew", token=token)[0] == "lock_lost"
    assert [one["attempt"] for one in deployed.world.ok("ledger")["records"]] == [0]


def test_the_first_release_of_a_run_that_died_stays_whatever_runs_next(proxy: LocalHaproxy) -> None:
    deployed = Deployed.__new__(Deployed)
    deployed.world, deployed.token = proxy, lock(proxy)
    deployed.sync(proxy.render())
    deployed.switch(Color.BLUE)
    token = proxy.ok("lock", **NEXT, over=deployed.token)["token"]
    assert not proxy.ok("revert", token=token)["reverted"]
    proxy.ok("unlock", token=token)
    assert proxy.get()[:2] == (200, "blue")
    assert deployed.pending() is None
