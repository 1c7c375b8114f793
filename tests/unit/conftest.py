"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.unit.local_haproxy import Deployed, LocalHaproxy, local_haproxy


@pytest.fixture
def load_balancer() -> Iterator[LocalHaproxy]:
    """Return a load balancer on which HAProxy is installed and does not run."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    with local_haproxy() as world:
        yield world


@pytest.fixture
def deployed(load_balancer: LocalHaproxy) -> Deployed:
    """Return a load balancer with blue live and confirmed."""
    return Deployed(load_balancer)
