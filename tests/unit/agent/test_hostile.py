"""The agent and apps that try to hold it up, or to fill its memory."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from bluegreen.color import Color
from tests.unit import hostile_app
from tests.unit.agent.harm import green_does_harm
from tests.unit.hostile_app import Harm, hostile_server
from tests.unit.local_haproxy import (
    BLUE_LIVE,
    GREEN_LIVE,
    Deployed,
    LocalHaproxy,
    free_port,
)

ADDRESS = "127.0.0.31"
ENOUGH_MEMORY = 40 << 20

# What an app does, and what the agent says of it; None if the head says all that it wants to know.
HARMS: dict[str, tuple[Harm, str | None]] = {
    "its body drips": (hostile_app.dripping_body, None),
    "its body never ends": (hostile_app.huge_body, None),
    "its head drips": (hostile_app.dripping_head, "did not end within"),
    "its head never ends": (hostile_app.endless_head, "longer than 65536 bytes"),
    "it says nothing": (hostile_app.silence, "did not end within"),
    "it speaks something else": (hostile_app.not_http, "not HTTP"),
}


whatever_it_does = pytest.mark.parametrize(("harm", "said"), HARMS.values(), ids=HARMS)


def with_little_memory(world: LocalHaproxy, verb: str, **request: Any) -> dict[str, Any]:
    """Call the agent where it gets no more memory than it needs for itself."""
    command = ["prlimit", f"--data={ENOUGH_MEMORY}", *world.command(verb, request)]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.timeout(120)
@whatever_it_does
def test_a_probe_ends_in_time_and_within_bounds_whatever_the_app_sends(
    proxy: LocalHaproxy, harm: Harm, said: str | None
) -> None:
    port = free_port()
    servers = [{"address": ADDRESS, "port": port}]
    with hostile_server(ADDRESS, port, "d" * 40, harm):
        answer = with_little_memory(proxy, "probe", servers=servers, path="/", timeout=1)["answers"][0]
    if said is None:
        assert (answer["status"], answer["revision"], answer["error"]) == (200, "d" * 40, None)
    else:
        assert (answer["status"], said in answer["error"]) == (None, True), answer
        assert "\n" not in answer["error"]


@pytest.mark.timeout(120)
@whatever_it_does
def test_a_switch_to_an_app_that_does_harm_when_asked_directly_ends_in_time(
    deployed: Deployed, harm: Harm, said: str | None
) -> None:
    with green_does_harm(deployed, harm, b"bluegreen-agent"):
        request = deployed.switch_request(Color.GREEN)
        answer = with_little_memory(deployed.world, "switch", **request)
    if said is None:
        assert (answer["ok"], deployed.maps()) == (True, GREEN_LIVE)
    else:
        assert (answer["error"], said in answer["message"]) == ("unhealthy", True), answer
        assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)


@pytest.mark.timeout(120)
@whatever_it_does
def test_a_switch_to_an_app_that_does_harm_through_haproxy_only_is_put_back(
    deployed: Deployed, harm: Harm, said: str | None
) -> None:
    # HAProxy names the client to the app; whoever asks directly does not.
    with green_does_harm(deployed, harm, b"x-forwarded-for: 127.0.0.1"):
        request = deployed.switch_request(Color.GREEN)
        answer = with_little_memory(deployed.world, "switch", **request)
    if said is None:
        # It answered, and what becomes of its clients is seen by the bake.
        assert (answer["ok"], deployed.maps()) == (True, GREEN_LIVE)
    else:
        assert answer["error"] == "not_moved", answer
        assert (deployed.maps(), deployed.pending()) == (BLUE_LIVE, None)
    assert deployed.world.ok("renew", token=deployed.token)
