"""An artifact of a run, the store that has it, and the files on their way to and from droplets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.release_name import release_name
from bluegreen.errors import BlueGreenError
from bluegreen.hooks import file_transfer
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.release.artifact import ArtifactFile, ArtifactRecord, BuiltArtifact, artifact_key
from bluegreen.settings.app_file import load_app
from tests.unit.runs import APP, REVISION

PERL = "5.36.0 x86_64-linux-gnu-thread-multi\nglibc 2.36"
DIGEST = "d" * 64
RELEASE = release_name(REVISION, DIGEST)
CONTENT = b"an artifact"
SOURCE = b"the source"


def record(**changes: Any) -> ArtifactRecord:
    known = {
        **{"app": APP, "digest": DIGEST, "revision": REVISION, "built_at": 1.0, "run": "deploy/earlier"},
        **{"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)},
        **{"builder": 1, "dependencies": None},
        "key": artifact_key(load_app(APP), REVISION, PERL),
    }
    return ArtifactRecord(**{**known, **changes})


def built(configuration: str | None = None) -> dict[str, Any]:
    """The XCom of the task ``build``.

    :param configuration: its digest; default: that of the app as it is.
    """
    one = record()
    digest = configuration or configuration_of(load_app(APP), {})["digest"]
    return BuiltArtifact.of(one, one.key, digest).model_dump(mode="json")


def kept(monkeypatch: pytest.MonkeyPatch, directory: Path, **changes: Any) -> ArtifactStore:
    """Return the app's store, which has the artifact, with these changes of its record."""
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(directory / "cache"))
    (directory / "artifact").write_bytes(CONTENT)
    store = ArtifactStore.of(load_app(APP))
    store.put(record(**changes), {}, directory / "artifact")
    return store


class Transfers:
    """Every transfer of a test: what was sent where, and what a builder has in ``outgoing``.

    :ivar there: releases that every droplet has.
    :ivar fails: what is raised instead of sending a file.
    :ivar refused: what is raised instead of sending a file that a job can do without.
    :ivar cut: what is raised instead of fetching one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.outgoing = CONTENT
        self.there: set[str] = set()
        self.fails: BlueGreenError | None = None
        self.refused: BlueGreenError | None = None
        self.cut: BlueGreenError | None = None
        monkeypatch.setattr(
            file_transfer.FileTransfer, "put", lambda _self, *file, **how: self._put(*file, **how)
        )
        monkeypatch.setattr(file_transfer.FileTransfer, "get", lambda _self, *file: self._get(*file))
        monkeypatch.setattr(
            file_transfer.FileTransfer, "has_release", lambda _self, release: release in self.there
        )

    def _put(self, source: Path, file: ArtifactFile, *, optional: bool = False) -> None:
        if error := self.refused if optional else self.fails:
            raise error
        self.sent.append((file.name, source.read_bytes()))

    def _get(self, file: ArtifactFile, target: Path) -> None:
        if self.cut:
            raise self.cut
        target.write_bytes(self.outgoing)


def source_of(monkeypatch: pytest.MonkeyPatch, module: Any, directory: Path) -> list[str]:
    """Let a module find a revision's source; return the revisions that it asks for."""
    asked: list[str] = []
    path = directory / "source.tar.gz"
    path.write_bytes(SOURCE)

    @contextmanager
    def with_source(_app: Any, revision: str, meanwhile: Callable[[], object]) -> Any:
        meanwhile()
        asked.append(revision)
        sha256 = hashlib.sha256(SOURCE).hexdigest()
        yield SimpleNamespace(path=path, sha256=sha256, size=len(SOURCE), committed=1_700_000_000)

    monkeypatch.setattr(module, "with_source", with_source)
    return asked
