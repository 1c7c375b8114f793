"""One of several proxies: what it does when the run died while it confirmed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bluegreen.color import Color
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, PEER, REVISIONS, Deployed, fire, peer
from tests.waiting import until


def prepare(deployed: Deployed) -> None:
    """Switch, and agree to keep it, as far as a run gets that dies then; its time is over at once."""
    deployed.switch(Color.GREEN, peers=[PEER], confirm_within=1)
    request = {"token": deployed.token, "revision": REVISIONS[Color.GREEN]}
    assert deployed.world.ok("confirm", prepare_only=True, **request)["prepared"]


def test_agreeing_is_not_confirming(deployed: Deployed) -> None:
    prepare(deployed)
    pending = deployed.pending()
    assert pending is not None
    assert pending["prepared"]


def test_it_keeps_the_switch_if_the_others_do(deployed: Deployed) -> None:
    prepare(deployed)
    with peer(deployed, "green"):
        fire(deployed.world, -1)
    assert (deployed.maps(), deployed.pending()) == (GREEN_LIVE, None)
    assert deployed.status()["confirmed"]["revision"] == REVISIONS[Color.GREEN]


def test_it_goes_back_if_the_others_did(deployed: Deployed) -> None:
    prepare(deployed)
    with peer(deployed, "blue"):
        fire(deployed.world, -1)
    assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)


def test_it_gives_the_others_time_to_go_back(deployed: Deployed) -> None:
    prepare(deployed)
    pending = deployed.pending()
    assert pending is not None
    with peer(deployed, "blue"):
        fire(deployed.world, -1)
    assert deployed.status()["last_revert"]["at"] > pending["deadline"] + 4


def test_one_that_had_not_agreed_does_not_ask(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN, peers=[PEER], confirm_within=1)
    with peer(deployed, "green"):
        fire(deployed.world, -1)
    assert deployed.maps() == BLUE_LIVE


@pytest.mark.parametrize(("color", "maps"), [("green", GREEN_LIVE), ("blue", BLUE_LIVE)])
def test_at_boot_it_does_as_the_others(deployed: Deployed, color: str, maps: tuple[str, str]) -> None:
    prepare(deployed)
    deployed.world.stop_haproxy()
    with peer(deployed, color):
        deployed.world.ok("boot")
    deployed.world.start(deployed.world.config.read_text())
    assert deployed.maps() == maps


@pytest.mark.parametrize(("color", "maps"), [("green", GREEN_LIVE), ("blue", BLUE_LIVE)])
def test_one_that_was_away_when_the_others_decided_follows_them_at_boot(
    deployed: Deployed, color: str, maps: tuple[str, str]
) -> None:
    deployed.switch(Color.GREEN, peers=[PEER], confirm_within=1)
    pending = deployed.pending()
    assert pending is not None
    deployed.world.stop_haproxy()
    until(lambda: time.time() > pending["deadline"])
    with peer(deployed, color):
        deployed.world.ok("boot")
    # Not before all of them must have decided.
    assert time.time() > pending["deadline"] + 4
    deployed.world.start(deployed.world.config.read_text())
    assert (deployed.maps(), deployed.pending()) == (maps, None)


def test_one_that_had_not_agreed_goes_back_at_boot_while_the_others_wait(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN, peers=[PEER], confirm_within=60)
    deployed.world.stop_haproxy()
    with peer(deployed, "green"):
        deployed.world.ok("boot")
    deployed.world.start(deployed.world.config.read_text())
    assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)


@pytest.mark.parametrize(("keep", "maps"), [(True, GREEN_LIVE), (False, BLUE_LIVE)])
def test_the_next_run_knows_what_all_had_agreed_to(
    deployed: Deployed, keep: bool, maps: tuple[str, str]
) -> None:
    prepare(deployed)
    deployed.world.ok("lock", owner="deploy", run_id="run-2", ref="v3", over=deployed.token, keep=keep)
    assert (deployed.maps(), deployed.pending()) == (maps, None)


def align(deployed: Deployed, to: str) -> dict[str, Any]:
    return deployed.world.ok("align", token=deployed.token, to=to, path="/health")


def test_it_is_sent_where_the_others_are(deployed: Deployed) -> None:
    assert align(deployed, "green") == {"ok": True, "from": "blue", "to": "green", "moved": True}
    assert deployed.maps() == GREEN_LIVE
    assert deployed.world.get()[:2] == (200, "green")
    assert align(deployed, "green")["moved"] is False


def test_nothing_is_sent_where_nobody_answers(deployed: Deployed) -> None:
    deployed.set_health(Color.GREEN, False, False)
    request = {"token": deployed.token, "to": "green", "path": "/health"}
    code, message = deployed.world.refused("align", **request)
    assert code == "unhealthy"
    assert "no healthy server" in message
    assert deployed.maps() == BLUE_LIVE


def test_after_that_no_timer_moves_it_again(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    align(deployed, "green")
    assert deployed.pending() is None
    fire(deployed.world, -1)
    assert deployed.maps() == GREEN_LIVE
