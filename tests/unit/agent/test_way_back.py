"""The agent on a proxy: the way back stays open, whatever else is broken."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, Deployed, LocalHaproxy, fire, lock
from tests.waiting import until

NEXT = {"owner": "deploy", "run_id": "run-2", "ref": "v2"}


def on_a_full_disk(deployed: Deployed, verb: str, **request: Any) -> dict[str, Any]:
    """Call the agent where no file may grow."""
    done = subprocess.run(
        ["prlimit", "--fsize=0", *deployed.world.command(verb, request)],
        env=deployed.world.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def deadline(deployed: Deployed) -> float:
    pending = deployed.pending()
    assert pending is not None
    return float(pending["deadline"])


@pytest.mark.parametrize("by", ["the timer", "the run"])
def test_a_full_disk_keeps_no_client_on_the_new_color(deployed: Deployed, by: str) -> None:
    deployed.switch(Color.GREEN)
    who = {"token": deployed.token} if by == "the run" else {"deadline": deadline(deployed)}
    answer = on_a_full_disk(deployed, "revert", **who)
    assert not answer["ok"]
    assert "traffic goes to blue again" in answer["message"]
    assert "make room on the disk" in answer["message"]
    assert deployed.world.get()[1] == "blue"
    # It is no end before the file says so, too.
    assert deployed.pending() is not None
    assert fire(deployed.world, -1)["ok"]
    assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)


@pytest.mark.timeout(120)
def test_a_disk_that_hangs_keeps_no_client_on_the_new_color(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    # Whoever writes here waits for ever, as on a disk that has gone away.
    hanging = deployed.world.map.with_name(".traffic.map.new")
    os.mkfifo(hanging)
    answer = fire(deployed.world, -1)
    assert answer["error"] == "not_written"
    assert "traffic goes to blue again" in answer["message"]
    assert deployed.world.get()[1] == "blue"
    assert deployed.pending() is not None
    hanging.unlink()
    assert fire(deployed.world, -1)["ok"]
    assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)


def test_what_could_not_be_taken_back_is_told_to_the_next_run(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    assert fire(deployed.world, -1)["error"] == "unhealthy"
    told = ProxyStatus.parse(deployed.status())
    assert told.pending is not None
    assert told.last_revert is not None
    assert (told.last_revert.refused, told.last_revert.run_id) == (True, "run-1")
    assert "not confirmed in time, but blue has no healthy server" in told.last_revert.reason

    deployed.world.ok("lock", **NEXT, over=deployed.token)
    told = ProxyStatus.parse(deployed.status())
    assert told.live == "green"
    # It may get well, and the timer goes on trying.
    assert told.pending is not None
    assert told.last_revert is not None
    assert told.last_revert.refused


def test_preparing_to_go_back_asks_whether_it_can_be_done_and_moves_nothing(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    assert deployed.world.ok("revert", token=deployed.token, prepare_only=True)["prepared"]
    deployed.set_health(Color.BLUE, False, False)
    refused = deployed.world.refused("revert", token=deployed.token, prepare_only=True)
    assert refused[0] == "unhealthy"
    assert deployed.maps() == GREEN_LIVE
    assert deployed.pending() is not None


@pytest.mark.parametrize("by", ["the timer", "the next run"])
def test_a_haproxy_that_does_not_run_will_start_with_the_old_color(deployed: Deployed, by: str) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.stop_haproxy()
    if by == "the timer":
        assert fire(deployed.world, -1)["ok"]
    else:
        deployed.world.ok("lock", **NEXT, over=deployed.token)
    assert deployed.pending() is None
    deployed.world.start(deployed.world.config.read_text())
    assert deployed.maps() == BLUE_LIVE


def test_a_switch_that_can_be_neither_done_nor_undone_is_left_to_the_timer(deployed: Deployed) -> None:
    """Its servers are well, but clients get no answer, and HAProxy dies before traffic is put back."""
    world = deployed.world
    # The proof that a switch has worked is an answer on this port.
    world.environment["BLUEGREEN_HTTP_PORT"] = str(world.stats_port)
    agent = subprocess.Popen(
        world.command("switch", deployed.switch_request(Color.GREEN)),
        env=world.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: deployed.maps() == GREEN_LIVE)
    world.stop_haproxy()
    answer = json.loads(agent.communicate()[0])
    assert not answer["ok"]
    assert "could not be put back to blue either" in answer["message"]
    assert deployed.pending() is not None
    world.start(world.config.read_text())
    world.environment["BLUEGREEN_HTTP_PORT"] = str(world.http_port)
    assert fire(world, -1)["ok"]
    assert deployed.maps() == BLUE_LIVE


def test_a_proxy_without_haproxy_keeps_no_other_from_going_back(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.stop_haproxy()
    assert deployed.world.ok("revert", token=deployed.token, prepare_only=True)["prepared"]
    deployed.world.ok("revert", token=deployed.token)
    deployed.world.start(deployed.world.config.read_text())
    assert deployed.maps() == BLUE_LIVE


def test_where_nothing_was_switched_there_is_nothing_to_take_back_even_without_a_map(
    proxy: LocalHaproxy,
) -> None:
    answer = proxy.ok("revert", token=lock(proxy))
    assert (answer["to"], answer["reverted"]) == (None, False)
