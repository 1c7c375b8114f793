"""A request that outlasts what a deploy waits for it."""

from __future__ import annotations

import pytest

from tests.sandbox.app_file import settings
from tests.sandbox.long_requests import BYTES, Clients
from tests.sandbox.stack import Stack
from tests.sandbox.way_back import make_sure_of_a_way_back

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

DRAIN = 5


def test_what_outlasts_the_drain_is_cut_and_told_of(stack: Stack) -> None:
    make_sure_of_a_way_back(stack)
    old = stack.live()
    download = Clients(stack.proxy().address).download(120)
    # Nothing is waited for by a rollback: it touches no droplet.
    back = stack.run("rollback").expect("live and confirmed")
    assert f"1 request that began before the switch still runs on {old}" in back.report["message"]

    with settings(stack, {"timeouts": {"drain": DRAIN}, "server": {"stop_timeout": 1}}):
        ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    drain = ended.report["drain"]
    assert (drain["color"], drain["cut"]) == (old, 1)
    assert drain["seconds"] >= DRAIN
    assert f"gave up on 1 request on {old} after {drain['seconds']:.0f} s (cut" in ended.report["message"]
    assert 0 < download.result(5).size < BYTES
