"""Where an app's things are on a droplet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.fields import text
from agent.paths import Paths
from agent.protocol import Json

# What an app is called on a droplet: also its user and its systemd unit.
APP = r"app-[a-z][a-z0-9_]{0,25}"


@dataclass(frozen=True)
class AppPaths:
    """The paths of one app.

    :param name: what the app is called on a droplet, for example ``app-shop``.
    """

    paths: Paths
    name: str

    @classmethod
    def of(cls, paths: Paths, request: Json) -> AppPaths:
        """Return those of the app that a request names by ``app``.

        :raises AgentError: with the code ``bad_request``.
        """
        return cls(paths, text(request, "app", APP))

    @property
    def service(self) -> str:
        """The app's systemd unit."""
        return f"{self.name}.service"

    @property
    def root(self) -> Path:
        """Releases, the mirror of the repository, installed dependencies."""
        return self.paths.root / "opt" / self.name

    @property
    def releases(self) -> Path:
        """A directory for each release, see :mod:`agent.release_name`."""
        return self.root / "releases"

    @property
    def incoming(self) -> Path:
        """What Airflow sends; root's, and removed at the end of a job."""
        return self.root / "incoming"

    @property
    def outgoing(self) -> Path:
        """What a build has made, until Airflow has fetched it; root's."""
        return self.root / "outgoing"

    @property
    def configurations(self) -> Path:
        """A directory for each configuration by its digest: ``environment``, and delivered ``files``."""
        return self.paths.root / "var/lib/bluegreen" / self.name / "configurations"

    @property
    def commands(self) -> Path:
        """A file for each one-off command that was started, named like its unit; it outlives a restart.

        It holds how the command ended, once it has.
        """
        return self.paths.root / "var/lib/bluegreen" / self.name / "commands"

    @property
    def environment(self) -> Path:
        """The app's environment, which people write."""
        return self.paths.root / "etc/default" / self.name

    @property
    def jobs(self) -> Path:
        """What jobs have at run time, in memory: a full disk must not stop them."""
        return self.paths.root / "run/bluegreen"

    @property
    def claim_lock(self) -> Path:
        """The file whose ``flock`` keeps claims and activations apart."""
        return self.jobs / f"{self.name}.claim"

    @property
    def tokens(self) -> tuple[Path, Path]:
        """The last run's token in memory, because a full disk must not stop a claim.

        And on the disk, because a claim outlives a restart.
        """
        return self.jobs / f"{self.name}.token", self.paths.root / "var/lib/bluegreen" / f"{self.name}.token"
