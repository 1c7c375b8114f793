"""What a run learns from the real agent about its own switch, and about nobody else's."""

from __future__ import annotations

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.own_switch import is_kept, is_taken_back, waiting_switch
from tests.unit.local_haproxy import REVISIONS, Deployed, fire

RUN, OTHER = "deploy/run", "deploy/other"
NOTHING = {"waits": False, "kept": False, "back": False}


@pytest.fixture
def locked(deployed: Deployed) -> Deployed:
    """Return a proxy whose lock the run holds."""
    return lock_again(deployed)


def lock_again(deployed: Deployed) -> Deployed:
    deployed.world.ok("unlock", token=deployed.token)
    deployed.token = deployed.world.ok("lock", owner="alice", run_id=RUN, ref="v2")["token"]
    return deployed


def confirm(locked: Deployed) -> None:
    locked.world.ok("confirm", token=locked.token, revision=REVISIONS[Color.GREEN])


def learns(deployed: Deployed, run: str) -> dict[str, bool]:
    statuses = {"lb-1": ProxyStatus.parse(deployed.status())}
    return {
        "waits": waiting_switch(statuses, run) is not None,
        "kept": is_kept(statuses, run),
        "back": is_taken_back(statuses, run),
    }


def test_a_switch_waits_until_it_is_kept_and_still_is_when_the_lock_was_given_back(locked: Deployed) -> None:
    assert learns(locked, RUN) == NOTHING
    locked.switch(Color.GREEN)
    assert learns(locked, RUN) == {**NOTHING, "waits": True}
    confirm(locked)
    assert learns(locked, RUN) == {**NOTHING, "kept": True}
    locked.world.ok("unlock", token=locked.token)
    assert learns(locked, RUN) == {**NOTHING, "kept": True}
    assert learns(locked, OTHER) == NOTHING


@pytest.mark.parametrize("by", ["a task", "the timer"])
def test_a_revert_is_recognized_whether_a_task_or_the_timer_made_it(locked: Deployed, by: str) -> None:
    locked.switch(Color.GREEN)
    if by == "the timer":
        fire(locked.world, 0)
    else:
        locked.world.ok("revert", token=locked.token)
    assert learns(locked, RUN) == {**NOTHING, "back": True}
    assert learns(locked, OTHER) == NOTHING


def test_a_switch_that_could_not_be_taken_back_is_not_called_so(locked: Deployed) -> None:
    locked.switch(Color.GREEN)
    locked.set_health(Color.BLUE, False, False)
    locked.world.refused("boot")
    assert learns(locked, RUN) == {**NOTHING, "waits": True}


def test_what_a_run_did_before_it_was_cleared_is_over_when_it_locks_again(locked: Deployed) -> None:
    locked.switch(Color.GREEN)
    locked.world.ok("revert", token=locked.token)
    locked.switch(Color.GREEN)
    confirm(locked)
    assert learns(lock_again(locked), RUN) == NOTHING
