"""Fixtures of the tests of what runs on droplets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.droplet import activation
from tests.unit.agent.droplet.builds import Builder, make_builder
from tests.unit.agent.droplet.dependency_builds import Mirror, mirror_in


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """Return a mirror by http."""
    with mirror_in(tmp_path / "cpan") as made:
        yield made


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Return a droplet on which releases are built."""
    return make_builder(tmp_path, monkeypatch)


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every release that is started be healthy."""
    monkeypatch.setattr(activation, "problem_of", lambda _: "")


@pytest.fixture
def unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no release that is started be healthy."""
    monkeypatch.setattr(activation, "problem_of", lambda _: "it answers 500")
