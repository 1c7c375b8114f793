"""The fleet that chaos strikes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment
from sandbox import Sandbox
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.chaos import state_watch
from tests.sandbox.droplets import Shop
from tests.sandbox.stack import SYSTEM_NAME, Stack, running
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import StateEnvironment

# Seconds after which the proxy takes an unconfirmed switch back.
CONFIRM_WITHIN = 15
WHOLE = os.environ.get("CHAOS") == "whole"


@pytest.fixture(scope="package")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Stack]]:
    """The session's own; for the whole table one whose deploys are quicker, in a sandbox of its own.

    It is called with the number of proxies, and ``stateful`` for an app that has state. There is one fleet at
    a time, to be gentle to small hosts.
    """
    if not WHOLE:
        yield lambda proxies, stateful=False: _with_both_colors(request.getfixturevalue("stack"))
        return
    fleets: dict[tuple[int, bool], Stack] = {}
    with ExitStack() as up:

        def of(proxies: int, stateful: bool = False) -> Stack:
            key = (proxies, stateful)
            if key not in fleets:
                up.close()
                fleets.clear()
                sandbox = up.enter_context(Sandbox.up(tmp_path_factory.mktemp("sandbox"), tied=True))
                directory = tmp_path_factory.mktemp("chaos")
                airflow = tmp_path_factory.mktemp("airflow")
                if stateful:
                    services = Services.order(Shop(sandbox, request.getfixturevalue("private_key")))
                    fleets[key] = up.enter_context(_with_state(sandbox, services, directory, airflow))
                else:
                    environment = DemoEnvironment(
                        sandbox, directory, bake=2, confirm_within=CONFIRM_WITHIN, proxies=proxies
                    )
                    fleets[key] = up.enter_context(running(environment, airflow))
                fleets[key].run("deploy", ref="v2").expect("live and confirmed")
            return fleets[key]

        yield of


@contextmanager
def _with_state(sandbox: Sandbox, services: Services, directory: Path, airflow: Path) -> Iterator[Stack]:
    """A fleet whose app has a migration, processes and sessions; blue has been live with them."""
    services.query(f"SET ROLE {services.database.name}; {state_watch.TABLES}")
    environment = StateEnvironment(sandbox, directory, services, CONFIRM_WITHIN)
    with running(environment, airflow) as stack:
        client = stack.client
        with settings(stack, state_watch.SETTINGS, shown=lambda: client.task_ids(DEPLOY)):
            stack.run("deploy", ref="v1", force=True).expect("live and confirmed")
            yield stack


def _with_both_colors(stack: Stack) -> Stack:
    """What the first deploy to a color brings along is nothing that a fault has left there."""
    if any(
        machine.run(f"test -e /opt/{SYSTEM_NAME}/current", check=False).returncode
        for machine in stack.idle_machines()
    ):
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    return stack
