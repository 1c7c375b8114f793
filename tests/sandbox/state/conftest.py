"""One droplet with PostgreSQL and Redis, and one fleet that keeps its state there, shared by this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Sandbox
from tests.sandbox.droplets import Shop
from tests.sandbox.stack import Stack, running
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import Releases, StateEnvironment


@pytest.fixture(scope="session")
def services(shop: Shop) -> Services:
    """PostgreSQL and Redis."""
    return Services.order(shop)


@pytest.fixture(scope="session")
def environment(
    sandbox: Sandbox, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> StateEnvironment:
    return StateEnvironment(sandbox, tmp_path_factory.mktemp("environment"), services)


@pytest.fixture(scope="session")
def releases(environment: StateEnvironment) -> Releases:
    """The app's repository: tests add their own releases."""
    return environment.releases


@pytest.fixture(scope="session")
def stack(environment: StateEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The fleet with v1 live, and an Airflow; instead of the stateless app's that other folders share."""
    with running(environment, tmp_path_factory.mktemp("airflow")) as stack:
        yield stack
