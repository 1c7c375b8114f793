"""A migration: what a droplet is asked to run of it, and what it answers; the plugin imports this, too."""

from __future__ import annotations

import re
from typing import TypedDict

from agent.protocol import StepRequest

# The commands of one phase.
MOST_COMMANDS = 10
# Seconds, the longest that one of them may take: a job ends after a day at the latest.
LONGEST_COMMAND = 7200
# Seconds that the command has that says what is pending, and characters of what it says.
STATUS_SECONDS, LONGEST_STATUS = 30, 200

# Sqitch's lists of what is pending: ``Undeployed changes:``, and a line ``  * users`` for each.
_SQITCH_PENDING = re.compile(r"^Undeployed changes?:$", re.MULTILINE)
_SQITCH_CHANGE = re.compile(r"^ +\* \S", re.MULTILINE)
_SQITCH_NOTHING = "Nothing to deploy (up-to-date)"


class MigrateRequest(StepRequest):
    """The request of the step ``migrate``: the commands of one phase, each as its words, and their release.

    ``phase`` is ``expand`` or ``contract``. ``status`` is a command that only reads, and says what is
    pending, or null. ``properties`` are those of the service's unit that count for loading: the cage,
    environment, directory. ``timeout`` is for each command.
    """

    release: str
    phase: str
    commands: list[list[str]]
    status: list[str] | None
    properties: list[str]
    timeout: float


class RanCommand(TypedDict):
    """A command that ``migrate`` has run to its end.

    ``command`` is the beginning of its text, as a shell would take it. ``began`` is by the droplet's clock.
    """

    command: str
    began: float
    seconds: float
    exit_status: int


class MigrateAnswer(TypedDict):
    """The answer of the step ``migrate``: the commands in their order, up to the first one that failed.

    ``before`` and ``after`` are what was pending, in words; empty if it was not asked.
    """

    ran: list[RanCommand]
    before: str
    after: str


def pending_in(output: str) -> str:
    """Return what a status command says is pending: of Sqitch a number, of any other command its last line.

    A line that is too long is left out: half of a secret would not be hidden.
    """
    if found := _SQITCH_PENDING.search(output):
        return f"{len(_SQITCH_CHANGE.findall(output, found.end()))} pending"
    if _SQITCH_NOTHING in output:
        return "none pending"
    printable = ("".join(filter(str.isprintable, line)) for line in output.splitlines())
    lines = [line.strip() for line in printable if line.strip()]
    return next((line for line in reversed(lines) if len(line) <= LONGEST_STATUS), "")
