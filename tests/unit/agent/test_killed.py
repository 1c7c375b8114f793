"""The agent on a proxy: killed at any moment."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bluegreen.color import Color
from tests.unit.local_haproxy import Deployed, fire
from tests.waiting import until

ATTEMPTS = 30
# Kills come until a little after a call has ended, and not before Python has started.
EARLIEST, LATEST = 0.02, 1.2


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes on this machine, Python's start included."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


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
