"""Artifacts that CI has built and put into the artifact store, in its directory ``incoming``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.droplet.artifact import check
from agent.droplet.building import wrappers
from agent.droplet.manifest import LINK, Manifest
from agent.protocol import AgentError
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks.artifact_store import ARCHIVE, CHUNK, ArtifactStore, seconds_for
from bluegreen.hooks.store_errors import StoreError
from bluegreen.release.artifact import LARGEST_ARTIFACT
from bluegreen.settings.app import App
from bluegreen.settings.policy import Artifacts
from bluegreen.source.cache import cache_directory, own_directory

INCOMING = "incoming"
# Seconds to unpack an artifact, and to compare it with its manifest.
CHECK_SECONDS = 900.0


@dataclass(frozen=True)
class IncomingArtifact:
    """An artifact that CI has built, on this machine.

    It is what its manifest says; each droplet compares the two again.

    :param path: the file, which is removed at the end.
    :param size: in bytes.
    """

    path: Path
    sha256: str
    size: int
    manifest: Manifest


class IncomingArtifacts(ArtifactStore):
    """What CI has put into an app's store."""

    @contextmanager
    def incoming(self, sha256: str) -> Iterator[IncomingArtifact]:
        """Yield an artifact, as a file of this machine that nobody else changes.

        :param sha256: of the file ``incoming/<sha256>.tar.gz`` in the store, or of an artifact that the store
            has kept since.
        :raises PolicyError: if the app's file does not allow artifacts of CI.
        :raises StoreError: if it is not there, is another file than its name says, or cannot be read.
        :raises BlueGreenError: if it is no release of this app and of this version of the project.
        """
        require_allowed(self.app)
        name = self._place_of(sha256)
        # In the cache: a system's directory for temporary files may be in memory.
        with TemporaryDirectory(dir=own_directory(cache_directory() / "sources")) as directory:
            path = Path(directory) / "artifact"
            size = self._copied(name, sha256, path)
            manifest = self._bounded(
                "has an artifact that takes too long", lambda: self._checked(path), CHECK_SECONDS
            )
            require_made_for(self.app, manifest)
            yield IncomingArtifact(path, sha256, size, manifest)

    def remove(self, sha256: str) -> None:
        """Remove what CI has put there, once the store has kept it.

        :raises StoreError: if it cannot be removed.
        """
        self._bounded("cannot be written", lambda: self._remove([_incoming(sha256)]))

    def _place_of(self, sha256: str) -> str:
        """Return where an artifact is: where CI has put it, or where it was kept since."""
        name = _incoming(sha256)
        if self._bounded("cannot be read", lambda: bool(self._fs.exists(self._path(name)))):
            return name
        for record in self.records():
            if record.sha256 == sha256:
                return record.file.name
        raise StoreError(
            f"{self.name} has no {self.app.id}/{name}; CI has to put the artifact there before it "
            "triggers the run"
        )

    def _checked(self, path: Path) -> Manifest:
        try:
            return check(path, self.app.system_name)
        except AgentError as error:
            raise BlueGreenError(f"the artifact of CI cannot be deployed: {error}") from None

    def _copied(self, name: str, sha256: str, target: Path) -> int:
        """Copy a file of the store, which is what its name says, and return its size."""
        size = self._bounded("cannot be read", lambda: int(self._fs.info(self._path(name))["size"]))
        if size > LARGEST_ARTIFACT:
            raise StoreError(f"{self.name}: {name} is larger than {LARGEST_ARTIFACT >> 30} GB")

        def copy() -> str:
            digest, left = hashlib.sha256(), size
            with self._open(name, "rb") as source, target.open("xb") as file:
                while left and (chunk := source.read(min(CHUNK, left))):
                    digest.update(chunk)
                    file.write(chunk)
                    left -= len(chunk)
            return digest.hexdigest()

        if self._bounded("cannot be read", copy, seconds_for(size)) != sha256:
            raise StoreError(f"{self.name}: {self.app.id}/{name} is not the file that its name says")
        return size


def _incoming(sha256: str) -> str:
    return f"{INCOMING}/{sha256}{ARCHIVE}"


def require_allowed(app: App) -> None:
    """Make sure that artifacts of CI may be deployed.

    :raises PolicyError: naming the setting.
    """
    if app.policy.artifacts is not Artifacts.ALLOWED:
        raise PolicyError(
            "an artifact that CI has built may not be deployed (setting policy.artifacts: never)"
        )


def require_made_for(app: App, manifest: Manifest) -> None:
    """Make sure that a release of CI has what a build of this app and of this version would have added.

    :raises BlueGreenError: naming what it lacks.
    """
    files = {entry.path: entry.sha256 for entry in manifest.entries}
    own = {f".bluegreen/{name}": data for name, data in wrappers().items()}
    if any(files.get(path) != hashlib.sha256(data).hexdigest() for path, data in own.items()):
        raise BlueGreenError(
            "the artifact was packed by another version of this project; pack it with the one that Airflow "
            "has"
        )
    if files.get("REVISION") != hashlib.sha256(f"{manifest.revision}\n".encode()).hexdigest():
        raise BlueGreenError("the artifact's file REVISION names another revision than its manifest")
    links = {entry.path: entry.target for entry in manifest.entries if entry.kind == LINK}
    for path, target in app.links.items():
        if links.get(path) != target:
            raise BlueGreenError(
                f"{path} of the artifact is no link to {target}, as `shared` or `files` demand; pack it with "
                f"--link {path}={target}"
            )


def manifest_of_incoming(app: App, sha256: str) -> Manifest:
    """Return the manifest of an artifact that CI has put into an app's store; see :meth:`incoming`."""
    with IncomingArtifacts.of(app).incoming(sha256) as artifact:
        return artifact.manifest


def require_revision(manifest: Manifest, revision: str) -> None:
    """Make sure that a release of CI is of a revision.

    :raises PolicyError: naming both.
    """
    if manifest.revision != revision:
        raise PolicyError(f"the artifact is of {manifest.revision[:12]}, not of {revision[:12]}")


def require_perl(manifest: Manifest, perl_key: str, droplet: str) -> None:
    """Make sure that a release of CI was built for a droplet's perl, architecture and C library.

    :raises BlueGreenError: naming both.
    """
    if manifest.perl != perl_key:
        built_for, there = " ".join(manifest.perl.split()), " ".join(perl_key.split())
        raise BlueGreenError(f"the artifact was built for {built_for}, and {droplet} has {there}")
