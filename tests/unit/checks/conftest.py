"""A repository that is read from its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.repositories import Repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    # A path is what a test has; the transports of real repositories are allowed elsewhere.
    monkeypatch.setattr("bluegreen.source.git.ALLOWED_PROTOCOLS", "file")
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    return Repository(tmp_path / "repository")
