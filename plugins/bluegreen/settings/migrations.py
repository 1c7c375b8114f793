"""The app's own commands that change its database: the section ``migrations``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agent.migration import LONGEST_COMMAND, MOST_COMMANDS
from bluegreen.settings.fields import Commands, Words
from bluegreen.settings.section import Section


class Irreversible(StrEnum):
    """Whether a release may be deployed that declares that there is no way back from it."""

    REFUSE = "refuse"
    ALLOW = "allow"


class MigrationSettings(Section):
    """Commands of each phase of a migration, seconds that each may take, and what may end the way back."""

    status: Words | None = None
    """A command that only reads, and says what is pending; with Sqitch: [sqitch, status]. The dry run shows
    it, where a droplet has the revision already. A deploy shows it before and after `expand`, to whoever
    approves the switch and in its report. Of Sqitch's output the pending changes are counted; of any other
    the last line is shown. It has 30 seconds. If it fails, nothing else does.
    """
    expand: Annotated[Commands, Field(max_length=MOST_COMMANDS)] = []
    """Once in each deploy, on one idle droplet, when the new release is installed and loads there, before it
    is started. The live release goes on using the database, so these commands may only add. A command that
    fails stops the deploy; a new run runs all of them again, so a command that has nothing left to do has
    to succeed.
    """
    contract: Annotated[Commands, Field(max_length=MOST_COMMANDS)] = []
    """When bluegreen_contract__<app> is triggered, which is there only with these commands; on one idle
    droplet, with the release that is live. They may remove what no release uses any more. There is no way
    back to an older release then.
    """
    keep_warm: Annotated[int, Field(ge=0, le=31_536_000)] = 86400
    """Seconds after a confirmed switch in which a contract is refused, because the release from before may
    still be needed.
    """
    timeout: Annotated[int, Field(ge=1, le=LONGEST_COMMAND)] = 900
    """Seconds that each command may take. Then it is ended, and has failed."""
    irreversible: Irreversible = Irreversible.REFUSE
    """Whether a release may be deployed that declares that there is no way back from it: by a line
    `Irreversible: <reason>` in the message of a commit that is not live yet; `refuse` or `allow`. If it is
    allowed, traffic stays on such a release even if it is a bad one. The run is then frozen and fails. One
    of `policy.approvers` has to approve such a release if there are any.
    """
