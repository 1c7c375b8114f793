"""Artifacts: what a build made, what it was made from, and how the store knows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.protocol import EarlierArtifact, SentFile
from agent.release_name import DIGEST, RELEASE, is_release, release_name
from bluegreen.agent_bundle import droplet_version
from bluegreen.errors import BlueGreenError
from bluegreen.patterns import REVISION, whole
from bluegreen.release.configuration import templates_of
from bluegreen.settings.app import App

# The most bytes of an artifact. A droplet's disk has 25 GB at least, and keeps several releases.
LARGEST_ARTIFACT = 4 << 30

_Digest = Annotated[str, Field(pattern=whole(DIGEST))]
_Dependencies = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArtifactFile(_Record):
    """A file on its way; see :class:`agent.protocol.SentFile`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$")]
    sha256: _Digest
    size: Annotated[int, Field(gt=0, le=LARGEST_ARTIFACT)]

    @property
    def sent(self) -> SentFile:
        """The file as a request names it."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size}


class ArtifactRecord(_Record):
    """What the store knows of an artifact, the file ``<digest>.tar.gz``.

    :param digest: the SHA-256 of its manifest, by which it is named.
    :param sha256: of the file.
    :param size: of the file, in bytes.
    :param key: what it was built from, see :func:`artifact_key`.
    :param built_at: seconds since the epoch.
    :param run: the run that built it.
    :param builder: the droplet that built it; ``None`` if CI did.
    :param dependencies: names the set of dependencies in it; ``None`` if there is none.
    """

    app: str
    digest: _Digest
    sha256: _Digest
    size: Annotated[int, Field(gt=0, le=LARGEST_ARTIFACT)]
    revision: Annotated[str, Field(pattern=whole(REVISION))]
    key: _Digest
    built_at: float
    run: str
    builder: int | None
    dependencies: _Dependencies | None

    @property
    def release(self) -> str:
        """The name of the release that it is unpacked as."""
        return release_name(self.revision, self.digest)

    @property
    def file(self) -> ArtifactFile:
        """The file as it is sent to a droplet."""
        return ArtifactFile(name=f"{self.digest}.tar.gz", sha256=self.sha256, size=self.size)

    @property
    def earlier(self) -> EarlierArtifact | None:
        """The artifact for a build that may take its dependencies; ``None`` if it has none."""
        if self.dependencies is None:
            return None
        return {"dependencies": self.dependencies, "digest": self.digest, "artifact": self.file.sent}


class KeyEntry(_Record):
    """Which artifact was built from what a key stands for.

    :param texts: the templates of the configuration, by their paths, as they are in that revision.
    """

    app: str
    key: _Digest
    digest: _Digest
    texts: Mapping[str, str] = {}


class BuiltArtifact(_Record):
    """The XCom of the task ``build``.

    :param artifact: the file, as it is in the store and on its way.
    :param key: see :func:`artifact_key`.
    :param configuration: the digest of the configuration that every droplet gets with the release.
    """

    release: Annotated[str, Field(pattern=whole(RELEASE))]
    digest: _Digest
    revision: Annotated[str, Field(pattern=whole(REVISION))]
    artifact: ArtifactFile
    key: _Digest
    configuration: _Digest

    @classmethod
    def of(cls, record: ArtifactRecord, key: str, configuration: str) -> Self:
        """Make it from the store's record."""
        return cls(
            release=record.release,
            digest=record.digest,
            revision=record.revision,
            artifact=record.file,
            key=key,
            configuration=configuration,
        )


def artifact_key(app: App, revision: str, perl_key: str, artifact: str | None = None) -> str:
    """Return what an artifact is built from, as one digest: an artifact that has it need not be built again.

    A revision stands for its tree, its submodules' commits and its LFS objects.

    :param perl_key: perl, architecture and C library of the droplet that builds.
    :param artifact: the SHA-256 of the artifact of CI that is taken instead of a build.
    """
    about = {
        "artifact": artifact,
        "revision": revision,
        "root": app.server.root,
        "perl": app.server.perl,
        "packages": sorted(app.fleet.packages),
        "dependencies": app.dependencies.model_dump(mode="json"),
        "build": app.build.model_dump(mode="json"),
        "links": dict(app.links),
        "templates": templates_of(app),
        "perl_key": perl_key,
        "agent": droplet_version(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class BuildAnswer(BaseModel):
    """The answer of the agent's ``build``, see :class:`agent.protocol.BuildAnswer`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: Annotated[str, Field(pattern=whole(RELEASE))]
    digest: _Digest
    artifact: ArtifactFile
    dependencies: _Dependencies | None

    @classmethod
    def parse(cls, answer: Any, revision: str) -> Self:
        """Make it from what a builder has answered.

        :raises BlueGreenError: if it is not whole, or is of another revision.
        """
        try:
            known = cls.model_validate(answer)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise BlueGreenError(f"the builder's answer is not whole: {place or 'it is missing'}") from None
        if known.release != release_name(revision, known.digest):
            raise BlueGreenError(f"the builder has built {known.release}, and not {revision[:12]}")
        return known


def is_of(digest: str, releases: Iterable[str]) -> bool:
    """Whether an artifact is the one of one of these releases, whose names have its first digits."""
    return any(is_release(one) and digest.startswith(one.partition("-")[2]) for one in releases)
