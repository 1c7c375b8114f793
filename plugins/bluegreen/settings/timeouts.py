"""How long a run waits at each step: the section ``timeouts``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bluegreen.settings.section import Section


class Timeouts(Section):
    """Limits, all in seconds."""

    ssh_connect: Annotated[int, Field(ge=1, le=120)] = 10
    ssh_command: Annotated[int, Field(ge=5, le=600)] = 30
    boot: Annotated[int, Field(ge=10, le=3600)] = 600
    build: Annotated[int, Field(ge=10, le=7200)] = 900
    drain: Annotated[int, Field(ge=0, le=86400)] = 120
    lease: Annotated[int, Field(ge=30, le=3600)] = 120
    lock_wait: Annotated[int, Field(ge=0, le=86400)] = 900
    approval: Annotated[int, Field(ge=10, le=82800)] = 3600
