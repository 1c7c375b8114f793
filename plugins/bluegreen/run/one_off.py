"""A one-off command in the live release: who may run it, where it runs, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.one_off import LARGEST_COMMAND, MOST_WORDS, describe_command
from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.fleet.droplets import Droplet
from bluegreen.release.jobs import JobReport
from bluegreen.release.migrations import RanCommand
from bluegreen.settings.app import App
from bluegreen.settings.fields import check_program

RUN_DAG = "bluegreen_run__"


class CommandTarget(BaseModel):
    """Where a one-off command runs, and in what; the XCom of the task ``run_check``.

    :param live: the live color when the run began.
    :param droplet: of that color; the command runs there, however often the task is tried.
    :param configuration: the digest of what the app's service runs with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    live: Color
    droplet: Droplet
    release: str
    configuration: str


class OneOffCommand(BaseModel):
    """A one-off command that has ended, for the run's record.

    :param command: its program, and how many words follow; those may be secret.
    :param ran: the command and its end; ``None`` if it ended without one, by a signal for example.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    droplet: str
    release: str
    command: str
    ran: RanCommand | None = None

    @classmethod
    def of(cls, target: CommandTarget, command: list[str], report: JobReport) -> Self:
        """Make it from the end of the job; without an answer that can be used its end is not known."""
        found = report.answers.get(Verb.RUN_COMMAND.value)
        try:
            ran = RanCommand.of(found) if isinstance(found, Mapping) else None
        except (ValidationError, ValueError, TypeError, KeyError, OverflowError):
            ran = None
        return cls(
            droplet=target.droplet.name, release=target.release, command=describe_command(command), ran=ran
        )

    def __str__(self) -> str:
        """Return in words how it ended."""
        how = f"ended with {self.ran.exit_status} after {self.ran.seconds:.0f} s" if self.ran else "was ended"
        return f"{self.command} {how} on {self.droplet} in {self.release[:12]}"


def require_user(app: App, run_type: str, user: str | None, cleared: bool) -> str:
    """Return the user who asks for a command, and may.

    :param run_type: how the run was triggered, as Airflow calls it.
    :param user: who triggered it, as Airflow knows; ``None`` if no user did.
    :param cleared: whether somebody has cleared the run since.
    :raises PolicyError: naming the setting.
    """
    allowed = ", ".join(app.policy.run) or "nobody"
    if cleared:
        raise PolicyError(
            "this run was cleared, and Airflow does not say by whom; nothing was run; trigger a new run "
            "(setting policy.run)"
        )
    if user is None or run_type != "manual":
        raise PolicyError(
            f"this run was not triggered by a user, but is {run_type}; only {allowed} may run commands "
            "(setting policy.run); nothing was run"
        )
    if user not in app.policy.run:
        raise PolicyError(f"{user} may not run commands, but {allowed} (setting policy.run); nothing was run")
    return user


def command_in(params: Mapping[str, Any]) -> list[str]:
    """Return the words of the run's command; Airflow has checked that they are words.

    :raises BlueGreenError: if they are no command.
    """
    found = params.get("command")
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise BlueGreenError("command is no list of words, such as [bin/reindex, --all]; nothing was run")
    size = sum(len(word.encode("utf-8", "replace")) for word in found)
    if len(found) > MOST_WORDS or size > LARGEST_COMMAND:
        raise BlueGreenError(
            f"command has {len(found)} words of {size} bytes; allowed are {MOST_WORDS} words of "
            f"{LARGEST_COMMAND} bytes; nothing was run"
        )
    try:
        check_program(found)
    except ValueError as error:
        raise BlueGreenError(f"command: {error}; nothing was run") from None
    if any(map(str.isspace, found[0])):
        raise BlueGreenError(
            "command has a space in its first word, which is the program alone; each argument is a line of "
            "its own in the form, and a string of its own through the API; nothing was run"
        )
    if any("\0" in word for word in found):
        raise BlueGreenError("command has a NUL byte, which no program can be given; nothing was run")
    return found
