"""Who is logged out by deploys and rollbacks: ``examples/plack_sessions`` with Redis, and with files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from demo.environment import APP
from sandbox.example_repository import run_git
from sandbox.examples import build_repositories
from tests.members import Members, members
from tests.sandbox.app_file import settings
from tests.sandbox.stack import Stack
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import Releases

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

CLIENTS = 200
# Seconds between two requests of a client: a load that leaves this machine time for everything else.
PAUSE = 2.0
# The example's releases, in the repository of this folder's app.
FIRST, SECOND = "members-v1", "members-v2"
# From the first one, which is live: five switches and two rollbacks.
RUNS = (SECOND, None, SECOND, FIRST, None, FIRST, SECOND)


@pytest.fixture(scope="module", autouse=True)
def _releases(releases: Releases, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both releases of the example; afterwards the folder's own app is live again."""
    directory = tmp_path_factory.mktemp("examples")
    build_repositories(directory)
    example = directory / "plack_sessions.git"
    for tag, name in (("v1", FIRST), ("v2", SECOND)):
        paths = run_git(example, "ls-tree", "-r", "--name-only", tag).splitlines()
        releases.add(name, {path: run_git(example, "show", f"{tag}:{path}") for path in paths}, on="v1")
    yield
    stack.run("deploy", ref="v1").expect("live and confirmed")


@contextmanager
def sessions_in(stack: Stack, store: str, affinity: str) -> Iterator[None]:
    """Let the app keep its sessions there, with the first release live."""
    file = stack.environment.directory / "apps" / f"{APP}.yaml"
    usual: dict[str, Any] = yaml.safe_load(file.read_text())
    changes = {
        "environment": {"SESSION_STORE": store},
        "validation": usual["validation"] | {"paths": ["/"]},
        "traffic": usual["traffic"] | {"affinity": affinity},
    }
    with settings(stack, changes):
        stack.run("deploy", ref=FIRST).expect("live and confirmed")
        yield


@contextmanager
def logged_in(stack: Stack) -> Iterator[Members]:
    with members(stack.environment.proxy_url().rstrip("/"), CLIENTS, PAUSE) as clients:
        assert clients.logged_out() == 0
        yield clients


def test_200_clients_stay_logged_in_over_five_switches_and_two_rollbacks(
    stack: Stack, services: Services
) -> None:
    services.redis("flushall")
    with sessions_in(stack, "redis", "none"), logged_in(stack) as clients:
        for ref in RUNS:
            if ref is None:
                stack.run("rollback").expect("live and confirmed")
            else:
                stack.run("deploy", ref=ref).expect("live and confirmed")
            assert clients.logged_out() == 0
        assert stack.live_ref() == SECOND
    assert clients.wrong == []
    # One for each client, and none of the requests that deploys and health checks have made.
    assert services.redis("--raw", "dbsize") == str(CLIENTS)
    services.redis("flushall")


def test_sessions_in_files_stay_on_their_droplets_as_the_page_says(stack: Stack) -> None:
    with sessions_in(stack, "files", "cookie"), logged_in(stack) as clients:
        stack.run("deploy", ref=SECOND).expect("live and confirmed")
        assert clients.logged_out() == CLIENTS
        assert clients.logged_out() == 0
        stack.run("rollback").expect("live and confirmed")
        assert clients.logged_out() == CLIENTS
        assert clients.logged_out() == 0
    assert clients.wrong == []
