"""The agent on a proxy: a switch to a release from which there is no way back."""

from __future__ import annotations

import os
import signal
import subprocess
from itertools import count
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.killed_agent import KILL_AT_A_LINE
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, REVISIONS, Deployed

WHY = "0123456789ab: drops users.email"


def lock(deployed: Deployed, run_id: str, **about: Any) -> int:
    """Take the lock over, and return its token."""
    request = {"owner": "deploy", "run_id": run_id, "ref": "v1", "over": deployed.token, **about}
    token: int = deployed.world.ok("lock", **request)["token"]
    return token


def switch(deployed: Deployed, **changes: Any) -> dict[str, Any]:
    return deployed.switch(Color.GREEN, irreversible=WHY, **changes)


def confirmed(deployed: Deployed) -> dict[str, Any]:
    found: dict[str, Any] = deployed.status()["confirmed"]
    return found


def test_it_is_kept_at_once_and_no_timer_takes_it_back(deployed: Deployed) -> None:
    answer = switch(deployed)
    assert (answer["from"], answer["to"], answer["milliseconds"] > 0) == ("blue", "green", True)
    assert deployed.maps() == GREEN_LIVE
    assert (deployed.pending(), deployed.world.timers()) == (None, [])
    kept = ProxyStatus.parse(deployed.status()).confirmed
    assert kept
    assert (kept.color, kept.revision, kept.irreversible, kept.judged) == (
        Color.GREEN,
        REVISIONS[Color.GREEN],
        WHY,
        False,
    )


def test_its_run_notes_that_the_release_was_found_good(deployed: Deployed) -> None:
    switch(deployed)
    request = {"token": deployed.token, "revision": REVISIONS[Color.GREEN]}
    deployed.world.ok("confirm", prepare_only=True, **request)
    assert not confirmed(deployed)["judged"], "so far one proxy was asked whether it would"
    for _ in range(2):
        assert deployed.world.ok("confirm", **request)["live"] == "green"
        assert (confirmed(deployed)["judged"], confirmed(deployed)["irreversible"]) == (True, WHY)
    # A retry of the switch is no new one.
    switch(deployed)
    assert confirmed(deployed)["judged"]


@pytest.mark.parametrize("who", ["revert", "its run's revert", "unlock", "the next run", "boot"])
def test_nobody_takes_it_back(deployed: Deployed, who: str) -> None:
    switch(deployed)
    before = confirmed(deployed)
    world, token = deployed.world, deployed.token
    if who == "revert":
        world.ok("revert")
    elif who == "its run's revert":
        assert not world.ok("revert", token=token)["reverted"]
    elif who == "unlock":
        world.ok("unlock", token=token)
    elif who == "the next run":
        lock(deployed, "next")
    else:
        world.ok("boot")
    assert deployed.maps() == GREEN_LIVE
    assert confirmed(deployed) == before


def test_a_retry_whose_first_answer_was_lost_is_told_what_has_happened(deployed: Deployed) -> None:
    first = switch(deployed)
    deployed.set_health(Color.GREEN, False, False)
    again = switch(deployed)
    assert (again["from"], again["to"], again["already"]) == ("blue", "green", True)
    assert again.keys() >= first.keys()
    assert abs(again["at"] - first["at"]) < 10
    assert deployed.maps() == GREEN_LIVE


def test_an_unhealthy_color_gets_no_traffic_all_the_same(deployed: Deployed) -> None:
    deployed.set_health(Color.GREEN, True, False)
    code, _ = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN, irreversible=WHY))
    assert (code, deployed.maps(), deployed.pending()) == ("unhealthy", BLUE_LIVE, None)


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 501, 7, ["x"]])
def test_a_reason_is_one_short_line(deployed: Deployed, reason: object) -> None:
    code, message = deployed.world.refused(
        "switch", **deployed.switch_request(Color.GREEN, irreversible=reason)
    )
    assert (code, message.partition(":")[0], deployed.maps()) == ("bad_request", "irreversible", BLUE_LIVE)


def test_the_next_run_completes_the_record_of_a_dead_one_with_the_reason(deployed: Deployed) -> None:
    world = deployed.world
    begun = {"dag_id": "bluegreen_deploy__shop", "run_id": "dead", "attempt": 0}
    holder = "bluegreen_deploy__shop/dead"
    deployed.token = lock(deployed, holder, begun=begun)
    switch(deployed)
    lock(deployed, "next")
    [record] = world.ok("ledger", last=10)["records"]
    assert (record["irreversible"], record["live"], record["to"]) == (WHY, "green", "green")
    assert "its switch is kept" in record["message"]


SETTLING = ("revert", "unlock", "lock", "boot", "switch")


def test_killed_at_any_line_it_has_not_moved_or_is_kept_by_whoever_comes_next(deployed: Deployed) -> None:
    world = deployed.world
    world.install_edited(
        "__main__.py", lambda text: text.replace("\nimport json\n", f"{KILL_AT_A_LINE}\nimport json\n", 1)
    )
    moved_at, ended = [], False
    for number in count():
        line = 1 + number * (3 if os.environ.get("CHAOS") == "whole" else 11)
        request = deployed.switch_request(Color.GREEN, irreversible=WHY)
        killed = subprocess.run(
            world.command("switch", request),
            env={**world.environment, "KILL_AT": str(line)},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        ended = killed.returncode == 0
        assert ended or killed.returncode == -signal.SIGKILL
        moved = world.get()[1] == "green"
        moved_at += [line] if moved else []
        assert world.timers() == []
        settle(deployed, SETTLING[number % len(SETTLING)])
        # Where clients were, they stay.
        assert world.get()[:2] == (200, "green" if moved else world.get()[1])
        assert deployed.status()["consistent"]
        assert deployed.pending() is None
        live = world.get()[1]
        assert (confirmed(deployed) or {}).get("color", "blue") == live
        if ended:
            break
        back_to_blue(deployed)
    assert ended
    assert moved_at


def settle(deployed: Deployed, verb: str) -> None:
    """Let one of those come next who would take a switch back, or the run's own retry."""
    world, token = deployed.world, deployed.token
    if verb == "unlock":
        world.ok("unlock", token=token)
        deployed.token = lock(deployed, f"after {token}")
    elif verb == "lock":
        deployed.token = lock(deployed, f"after {token}")
    elif verb == "switch":
        switch(deployed)
    elif verb == "revert":
        world.ok("revert", token=token)
    else:
        world.ok("boot")


def back_to_blue(deployed: Deployed) -> None:
    world = deployed.world
    deployed.token = lock(deployed, f"back {deployed.token}")
    world.ok("align", token=deployed.token, to="blue", path="/health")
    state = world.root / "var/lib/bluegreen/traffic.json"
    state.write_text("{}")
    assert deployed.maps() == BLUE_LIVE
