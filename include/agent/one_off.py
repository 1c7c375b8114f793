"""A one-off command: what a droplet is asked to run; the plugin imports this, too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from agent.protocol import StepRequest

# The words of a command, and their bytes together: Linux takes 128 KiB in one word.
MOST_WORDS, LARGEST_COMMAND = 200, 64 << 10
# Seconds, the longest that one may take: a job ends after a day at the latest.
LONGEST_COMMAND = 82800
# Characters of a program that are shown.
LONGEST_PROGRAM = 80
# What is left to say of a command whose end nobody has seen.
GONE = (
    "the command is gone: it was ended, or the droplet was restarted; how far it came is not known, and it "
    "is not started again; look at what it has changed, then trigger a new run if it has to run again"
)


class RunCommandRequest(StepRequest):
    """The request of the step ``run_command``: the command as its words, and what it runs with.

    ``release`` and ``configuration`` are those of the app's service, which stay on the droplet meanwhile.
    ``properties`` are those of the service's unit that count for loading: the cage, environment, directory.
    """

    release: str
    configuration: str
    command: list[str]
    properties: list[str]
    timeout: float


def describe_command(command: Sequence[str]) -> str:
    """Return what everybody is shown of a command: its program, and how many words follow.

    Those may be secret, and reports go to chats and logs. The run's parameters have them. So may be what
    follows a space or an equals sign in the first word, with which the command is refused.
    """
    program = re.split(r"[\s=]", command[0], maxsplit=1)[0][:LONGEST_PROGRAM]
    cut = "…" if program != command[0] else ""
    count = len(command) - 1
    arguments = f" with {count} argument{'s' if count > 1 else ''}" if count else ""
    return f"{shlex.quote(program)}{cut}{arguments}"
