"""Where a sandbox keeps its things."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files of one sandbox.

    :param directory: absolute; all of them are in it.
    :param name: what the sandbox is called.
    """

    directory: Path
    name: str

    @classmethod
    def of(cls, directory: Path | str, name: str | None = None) -> Layout:
        """Return the layout of a sandbox in a directory, which names it if nothing else does."""
        path = Path(directory).resolve()
        return cls(path, name or path.name)

    @property
    def description(self) -> Path:
        """``sandbox.json``: how to reach it; there only while it is up."""
        return self.directory / "sandbox.json"

    @property
    def server(self) -> Path:
        """Which process serves it."""
        return self.directory / "server.json"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.directory / "server.log"

    @property
    def lock(self) -> Path:
        """Held while it goes up or down."""
        return self.directory / "lock"

    @property
    def certificate_authority(self) -> Path:
        """The certificate that its API's certificate is signed with."""
        return self.directory / "ca.pem"

    @property
    def machines(self) -> Path:
        """The machines' disks and logs."""
        return self.directory / "machines"

    @property
    def cgroup(self) -> str:
        """The control group of all its machines, below each hierarchy's root."""
        return f"bluegreen-sandbox-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]}"

    @property
    def repositories(self) -> Path:
        """Bare git repositories that it serves."""
        return self.directory / "repositories"
