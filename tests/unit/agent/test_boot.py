"""The proxy agent before HAProxy starts, after the machine lost power."""

from __future__ import annotations

import json
import subprocess

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, Deployed, snapshot
from tests.waiting import until


def start_haproxy(deployed: Deployed) -> None:
    deployed.world.start(deployed.world.config.read_text())


def test_an_unconfirmed_switch_is_taken_back_before_haproxy_starts(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.stop_haproxy()
    assert deployed.world.ok("boot")["reverted"]
    start_haproxy(deployed)
    assert deployed.maps() == BLUE_LIVE
    code, message = deployed.world.refused("confirm", token=deployed.token, revision="c" * 40)
    assert code == "reverted"
    assert "restarted" in message
    last = ProxyStatus.parse(deployed.status()).last_revert
    assert last is not None
    assert (last.to, last.run_id, last.refused) == ("blue", "run-1", False)


def test_a_confirmed_switch_is_left_alone(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("confirm", token=deployed.token, revision="c" * 40)
    deployed.world.stop_haproxy()
    before = snapshot(deployed.world)
    assert not deployed.world.ok("boot")["reverted"]
    assert snapshot(deployed.world) == before


def test_if_nobody_could_answer_the_switch_stays_and_a_timer_tries_again(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.stop_haproxy()
    for backend in deployed.world.backends[Color.BLUE]:
        backend.healthy = False
    code, message = deployed.world.refused("boot")
    assert code == "unhealthy"
    assert "no server of blue answered" in message
    first, again = deployed.world.timers()[-2:]
    assert json.loads(again[-1]) == json.loads(first[-1])
    start_haproxy(deployed)
    assert deployed.maps() == GREEN_LIVE
    status = ProxyStatus.parse(deployed.status())
    assert status.pending is not None
    assert status.last_revert is not None
    assert status.last_revert.refused


def test_a_boot_that_takes_too_long_has_armed_the_timer_before_it_asks_anybody(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.stop_haproxy()
    for backend in deployed.world.backends[Color.BLUE]:
        backend.health_takes = 30
    boot = subprocess.Popen(deployed.world.command("boot", {}), env=deployed.world.environment)
    try:
        until(lambda: len(deployed.world.timers()) == 2)
    finally:
        boot.kill()
        boot.wait()
    first, again = deployed.world.timers()
    assert json.loads(again[-1]) == json.loads(first[-1])
