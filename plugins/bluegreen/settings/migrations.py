"""The app's own commands that change its database: the section ``migrations``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.migration import LONGEST_COMMAND, MOST_COMMANDS
from bluegreen.settings.fields import Commands, Words
from bluegreen.settings.section import Section


class MigrationSettings(Section):
    """Commands of each phase of a migration, the seconds that each may take, and what is pending."""

    status: Words | None = None
    expand: Annotated[Commands, Field(max_length=MOST_COMMANDS)] = []
    contract: Annotated[Commands, Field(max_length=MOST_COMMANDS)] = []
    keep_warm: Annotated[int, Field(ge=0, le=31_536_000)] = 86400
    timeout: Annotated[int, Field(ge=1, le=LONGEST_COMMAND)] = 900
