"""The files of a sandbox."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files of one sandbox.

    :param directory: absolute path; it holds all of the files.
    :param name: the sandbox's name.
    """

    directory: Path
    name: str

    @classmethod
    def of(cls, directory: Path | str, name: str | None = None) -> Layout:
        """Return the layout of a sandbox in a directory; the directory's name is the default name."""
        path = Path(directory).resolve()
        return cls(path, name or path.name)

    @property
    def description(self) -> Path:
        """``sandbox.json``: how to reach the sandbox; it exists only while the sandbox is up."""
        return self.directory / "sandbox.json"

    @property
    def server(self) -> Path:
        """The record of the process that serves the sandbox."""
        return self.directory / "server.json"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.directory / "server.log"

    @property
    def lock(self) -> Path:
        """The lock that is held while the sandbox starts or stops."""
        return self.directory / "lock"

    @property
    def certificate_authority(self) -> Path:
        """The certificate authority of the API's certificate."""
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
        """The bare git repositories that the sandbox serves."""
        return self.directory / "repositories"

    @property
    def forge(self) -> Path:
        """The keys of the forge's SSH server."""
        return self.directory / "forge"

    @property
    def cpan(self) -> Path:
        """The files of the CPAN mirror."""
        return self.directory / "cpan"
