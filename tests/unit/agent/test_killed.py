"""The agent on a proxy: killed at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bluegreen.color import Color
from tests.unit.killed_agent import KILL_AT_A_LINE
from tests.unit.local_haproxy import BLUE_LIVE, GREEN_LIVE, REVISIONS, Deployed, fire
from tests.waiting import until

# For `make chaos`, on a busy machine.
pytestmark = pytest.mark.timeout(1800)

ATTEMPTS = 30
# Kills come until a little after a call has ended, and not before Python has started.
EARLIEST, LATEST = 0.02, 1.2


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes on this machine, Python's start included."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


# The agent is killed at one line out of so many; `make chaos` takes the time for more of them.
STRIDE = 3 if os.environ.get("CHAOS") == "whole" else 17
# A call has more lines than this.
AT_LEAST = 20


def pending(root: Path) -> dict[str, object] | None:
    found: dict[str, object] | None = json.loads((root / "var/lib/bluegreen/traffic.json").read_text())[
        "pending"
    ]
    return found


def test_a_killed_switch_has_not_moved_or_moves_back_by_itself(deployed: Deployed) -> None:
    world = deployed.world
    moments = random.Random(7)  # noqa: S311
    live = Color.BLUE
    latest = LATEST * seconds_of(lambda: deployed.switch(Color.GREEN))
    world.ok("revert", token=deployed.token)
    for attempt in range(ATTEMPTS):
        old = [f"live {live}\nidle {live.other}\nidle_share 0\n"] * 2
        process = subprocess.Popen(
            world.command("switch", deployed.switch_request(live.other)),
            env=world.environment,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(EARLIEST, latest))
        process.kill()
        process.wait()

        assert set(deployed.maps()) <= {old[0], f"live {live.other}\nidle {live}\nidle_share 0\n"}
        if deployed.maps() != tuple(old):
            waiting = pending(world.root)
            assert waiting is not None
            assert (waiting["from"], waiting["to"]) == (live, live.other)
            assert json.loads(world.timers()[-1][-1]) == {"deadline": waiting["deadline"]}

        if attempt % 2:
            deployed.switch(live.other)
            world.ok(
                "confirm", token=deployed.token, revision=deployed.switch_request(live.other)["revision"]
            )
            live = live.other
        elif pending(world.root):
            fire(world, -1)
        assert deployed.maps() == (f"live {live}\nidle {live.other}\nidle_share 0\n",) * 2
        assert deployed.status()["consistent"]
        assert world.get()[:2] == (200, live)


def killed_at_any_line(deployed: Deployed, verb: str, request: Callable[[], dict[str, Any]]) -> Iterator[int]:
    """Let a call be killed at one line after the other, until it ends before it is killed.

    :param request: made anew for each call.
    """
    world = deployed.world
    world.install_edited(
        "__main__.py", lambda text: text.replace("\nimport json\n", f"{KILL_AT_A_LINE}\nimport json\n", 1)
    )
    for line in count(1, STRIDE):
        environment = {**world.environment, "KILL_AT": str(line)}
        command = world.command(verb, request())
        call = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        yield line
        if call.returncode == 0:
            assert line > AT_LEAST, "it was killed nowhere"
            return
        assert call.returncode == -signal.SIGKILL


def demand_a_way_back(deployed: Deployed) -> None:
    """Of traffic that has moved, or may have, a timer knows which switch to take back."""
    waiting = pending(deployed.world.root)
    assert waiting is not None
    assert (waiting["from"], waiting["to"]) == ("blue", "green")
    assert json.loads(deployed.world.timers()[-1][-1]) == {"deadline": waiting["deadline"]}


def test_a_switch_that_is_killed_at_any_line_has_not_moved_or_moves_back_by_itself(
    deployed: Deployed,
) -> None:
    for _ in killed_at_any_line(deployed, "switch", lambda: deployed.switch_request(Color.GREEN)):
        if deployed.maps() != BLUE_LIVE or pending(deployed.world.root):
            demand_a_way_back(deployed)
            assert fire(deployed.world, -1)["ok"]
        assert deployed.maps() == BLUE_LIVE
        assert deployed.status()["consistent"]


def test_a_confirmation_killed_at_any_line_is_done_by_the_next_or_its_timer_decides(
    deployed: Deployed,
) -> None:
    request = {"token": deployed.token, "revision": REVISIONS[Color.GREEN]}

    def switched() -> dict[str, Any]:
        deployed.switch(Color.GREEN)
        return request

    for line in killed_at_any_line(deployed, "confirm", switched):
        assert deployed.maps() == GREEN_LIVE
        if pending(deployed.world.root):
            demand_a_way_back(deployed)
        if line % 2:
            deployed.world.ok("confirm", **request)
            assert (deployed.maps(), deployed.pending()) == (GREEN_LIVE, None)
        fire(deployed.world, -1)
        assert deployed.pending() is None
        if deployed.maps() == GREEN_LIVE:
            assert deployed.status()["confirmed"]["revision"] == REVISIONS[Color.GREEN]
            deployed.world.ok("align", token=deployed.token, to="blue", path="/health")
        assert deployed.maps() == BLUE_LIVE


def test_a_revert_killed_at_any_line_is_done_by_the_next_or_by_the_timer(deployed: Deployed) -> None:
    def switched() -> dict[str, Any]:
        deployed.switch(Color.GREEN)
        return {"token": deployed.token}

    for line in killed_at_any_line(deployed, "revert", switched):
        if deployed.maps() != BLUE_LIVE:
            demand_a_way_back(deployed)
        if line % 2:
            deployed.world.ok("revert", token=deployed.token)
        else:
            assert fire(deployed.world, -1)["ok"]
        assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)
        assert deployed.status()["last_revert"]["to"] == "blue"


def runs_after_sync(deployed: Deployed, config: str) -> bool:
    deployed.sync(config)
    assert deployed.world.config.read_text() == config
    digest: str = deployed.status()["haproxy"]["config_sha256"]
    return digest == hashlib.sha256(config.encode()).hexdigest()


def test_a_killed_sync_is_finished_by_the_next(deployed: Deployed) -> None:
    world = deployed.world
    moments = random.Random(11)  # noqa: S311
    latest = LATEST * seconds_of(lambda: deployed.sync(world.render(timeout_server=59)))
    for attempt in range(ATTEMPTS // 2):
        config = world.render(timeout_server=60 + attempt)
        process = subprocess.Popen(
            world.command("sync", deployed.sync_request(config)),
            env=world.environment,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(EARLIEST, latest))
        process.kill()
        process.wait()
        assert world.get()[:2] == (200, "blue")
        # The reload that the killed one asked for may come after the one that was verified.
        until(partial(runs_after_sync, deployed, config))
        assert deployed.maps() == ("live blue\nidle green\nidle_share 0\n",) * 2
