"""The fleet that chaos strikes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from demo.environment import DemoEnvironment
from sandbox import Sandbox
from tests.sandbox.stack import SYSTEM_NAME, Stack, running

WHOLE = os.environ.get("CHAOS") == "whole"


@pytest.fixture(scope="package")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], Stack]]:
    """The session's own; for the whole table one whose deploys are quicker, in a sandbox of its own.

    It is called with the number of proxies. There is one fleet at a time, to be gentle to small hosts.
    """
    if not WHOLE:
        yield lambda proxies: _with_both_colors(request.getfixturevalue("stack"))
        return
    fleets: dict[int, Stack] = {}
    with ExitStack() as up:

        def of(proxies: int) -> Stack:
            if proxies not in fleets:
                up.close()
                fleets.clear()
                sandbox = up.enter_context(Sandbox.up(tmp_path_factory.mktemp("sandbox")))
                environment = DemoEnvironment(
                    sandbox,
                    tmp_path_factory.mktemp("chaos"),
                    bake=2,
                    confirm_within=15,
                    proxies=proxies,
                )
                airflow = tmp_path_factory.mktemp("airflow")
                stack = fleets[proxies] = up.enter_context(running(environment, airflow))
                stack.run("deploy", ref="v2").expect("live and confirmed")
            return fleets[proxies]

        yield of


def _with_both_colors(stack: Stack) -> Stack:
    """What the first deploy to a color brings along is nothing that a fault has left there."""
    if any(
        machine.run(f"test -e /opt/{SYSTEM_NAME}/current", check=False).returncode
        for machine in stack.idle_machines()
    ):
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    return stack
