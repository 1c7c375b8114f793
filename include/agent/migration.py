"""A migration: what a droplet is asked to run of it, and what it answers; the plugin imports this, too."""

from __future__ import annotations

from typing import TypedDict

from agent.protocol import StepRequest

# The commands of one phase.
MOST_COMMANDS = 10
# Seconds, the longest that one of them may take: a job ends after a day at the latest.
LONGEST_COMMAND = 7200


class MigrateRequest(StepRequest):
    """The request of the step ``migrate``: the commands of one phase, each as its words, and their release.

    ``phase`` is ``expand``. ``properties`` are those of the service's unit that count for loading: the cage,
    environment, directory. ``timeout`` is for each command.
    """

    release: str
    phase: str
    commands: list[list[str]]
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
    """The answer of the step ``migrate``: the commands in their order, up to the first one that failed."""

    ran: list[RanCommand]
