"""What an app runs beside its web server, on the live color: the sections ``processes`` and ``timers``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agent.processes import LONGEST_RUN, LONGEST_STOP, MOST_INSTANCES, MOST_NAMES, MOST_UNITS, NAME
from bluegreen.patterns import whole
from bluegreen.settings.calendar import calendar_text, check_calendar
from bluegreen.settings.fields import MemoryMax, StopSignal, Words, check_program
from bluegreen.settings.section import Line, Section

# Characters of a command: a droplet keeps the units of each release that was healthy there.
LONGEST_COMMAND = 2000


def _command(command: list[str]) -> list[str]:
    check_program(command)
    if sum(map(len, command)) > LONGEST_COMMAND:
        raise ValueError(f"allowed are {LONGEST_COMMAND} characters; put the rest into a program of the app")
    return command


Command = Annotated[Words, AfterValidator(_command)]
StopTimeout = Annotated[int, Field(ge=1, le=LONGEST_STOP)]


class ProcessSettings(Section):
    """A process that is always up, such as a worker."""

    command: Command
    """A list of words. It stays in the foreground, and is started again when it ends. No shell, unless you
    write [bash, -c, "…"].
    """
    count: Annotated[int, Field(ge=1, le=MOST_INSTANCES)] = 1
    """How many of it each droplet runs."""
    droplets: Literal["all", "one"] = "all"
    """`all` of the live color, or `one` of them."""
    stop_signal: StopSignal = "SIGTERM"
    """The signal after which it finishes what it works on and ends, as in `server.stop_signal`."""
    stop_timeout: StopTimeout = 30
    """Seconds that it has then. What is left of it is killed."""
    overlap: bool = False
    """`true` if the new color may start it before the old one has stopped it, as for a queue that two
    versions may read.
    """
    memory_max: MemoryMax | None = None
    """Memory that each may use, such as 512M."""


class TimerSettings(Section):
    """A command that is run at certain moments."""

    command: Command
    """A list of words."""
    calendar: Annotated[Line, BeforeValidator(calendar_text), AfterValidator(check_calendar)]
    """"[days] [*-month-day] hour:minute[:second] [zone]", as in "Mon..Fri 08:30 Europe/Berlin" and "*:0/15",
    or daily, weekly …
    """
    droplets: Literal["all", "one"] = "one"
    """`one` of the live color, or `all` of them."""
    timeout: Annotated[int, Field(ge=1, le=LONGEST_RUN)] = 3600
    """Seconds that a run may take. Then it is ended, and has failed."""
    stop_timeout: StopTimeout = 30
    """Seconds that a run has after SIGTERM, when it moves or has taken too long. What is left of it is
    killed.
    """
    memory_max: MemoryMax | None = None
    """Memory that a run may use, such as 512M."""


_Name = Annotated[str, Field(pattern=whole(NAME))]
Processes = Annotated[
    dict[_Name, ProcessSettings], BeforeValidator(lambda data: {} if data is None else data)
]
Timers = Annotated[dict[_Name, TimerSettings], BeforeValidator(lambda data: {} if data is None else data)]


def check_names(processes: Mapping[str, ProcessSettings], timers: Mapping[str, TimerSettings]) -> None:
    """Refuse a name that a process and a timer share, and more than a droplet should have.

    :raises ValueError: naming the key.
    """
    if both := sorted(processes.keys() & timers.keys()):
        raise ValueError(
            f"timers: found {both[0]!r}, which is the name of a process, too; rename one of them"
        )
    names = len(processes) + len(timers)
    if names > MOST_NAMES:
        raise ValueError(f"processes: there are {names} with the timers; allowed are {MOST_NAMES}")
    units = sum(one.count for one in processes.values()) + len(timers)
    if units > MOST_UNITS:
        raise ValueError(f"processes: count adds up to {units} with the timers; allowed are {MOST_UNITS}")
