"""Fixtures of the tests of sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bluegreen.source import forge, git
from tests.unit.local_forge import Forge, local_forge
from tests.unit.repositories import Repository


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep mirrors in the test's directory, ask a forge in trouble again at once, and allow local paths."""
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(git, "ALLOWED_PROTOCOLS", "file:http")
    monkeypatch.setattr(forge, "FIRST_PAUSE", 0.05)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """Return an empty repository that the forge serves as ``shop.git``."""
    (tmp_path / "forge").mkdir()
    return Repository(tmp_path / "forge" / "shop.git")


@pytest.fixture
def local(shop: Repository) -> Iterator[Forge]:
    """Serve the repositories beside ``shop.git``."""
    with local_forge(shop.path.parent) as found:
        yield found
