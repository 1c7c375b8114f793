"""A droplet that has not the release of its color, and what it is to get."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from agent.release_name import revision_of
from bluegreen.fleet.droplets import Droplet


class MissingRelease(BaseModel):
    """An element of the XCom of the task ``color_release``.

    :param droplet: new, or rebuilt.
    :param release: what the other droplets of its color run.
    :param configuration: the digest of the configuration that they run it with.
    """

    model_config = ConfigDict(frozen=True)

    droplet: Droplet
    release: str
    configuration: str

    @property
    def revision(self) -> str:
        """The release's revision."""
        return revision_of(self.release)
