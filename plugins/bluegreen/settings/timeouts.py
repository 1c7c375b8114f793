"""How long a run waits at each step: the section ``timeouts``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.one_off import LONGEST_COMMAND
from bluegreen.settings.section import Section


class Timeouts(Section):
    """Limits, all in seconds."""

    ssh_connect: Annotated[int, Field(ge=1, le=120)] = 10
    """To open an SSH connection."""
    ssh_command: Annotated[int, Field(ge=5, le=600)] = 30
    """For one short command over SSH."""
    boot: Annotated[int, Field(ge=10, le=3600)] = 600
    """From creating a droplet to its being ready."""
    build: Annotated[int, Field(ge=10, le=7200)] = 900
    """To build a release, and likewise to install, load and start it on a droplet and to stop the one before:
    at least `server.load_timeout` + `server.stop_timeout`.
    """
    drain: Annotated[int, Field(ge=0, le=86400)] = 120
    """From a switch until the next deploy, or `server.stop_idle_after`, may stop what still runs on the color
    that lost the traffic, such as long downloads and WebSockets. They then have `server.stop_timeout` to
    end. 0 to not wait for them.
    """
    lease: Annotated[int, Field(ge=30, le=3600)] = 120
    """A run's lock on the proxies lasts this long after its last sign of life. Then another run may take it
    over.
    """
    lock_wait: Annotated[int, Field(ge=0, le=86400)] = 900
    """To wait for another run of this app to end before this one starts. 0 to fail at once."""
    approval: Annotated[int, Field(ge=10, le=82800)] = 3600
    """For somebody to approve a switch, in a run that requires it. No answer is a no. The app is locked
    meanwhile.
    """
    run: Annotated[int, Field(ge=1, le=LONGEST_COMMAND)] = 3600
    """For a one-off command (see `policy.run`). Then it is ended, and its run has failed."""
