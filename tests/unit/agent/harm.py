"""A color whose servers do harm when the agent asks them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bluegreen.color import Color
from tests.unit.hostile_app import Harm, hostile_server
from tests.unit.local_haproxy import ADDRESSES, REVISIONS, Deployed
from tests.waiting import until


@contextmanager
def green_does_harm(deployed: Deployed, harm: Harm, asked_by: bytes) -> Iterator[None]:
    """Replace green's servers by ones that are healthy for all but requests with something in their head."""
    for backend in deployed.world.backends[Color.GREEN]:
        backend.close()
    with ExitStack() as stack:
        for address in ADDRESSES[Color.GREEN]:
            stack.enter_context(
                hostile_server(address, deployed.world.app_port, REVISIONS[Color.GREEN], harm, asked_by)
            )
        until(lambda: all(server["up"] for server in deployed.status()["servers"][Color.GREEN]))
        yield
