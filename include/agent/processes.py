"""An app's processes and timers: what a droplet is asked about them, and what it answers.

The plugin imports this, too.
"""

from __future__ import annotations

from typing import TypedDict

from agent.protocol import StepRequest, Word

# The name of a process or a timer, unique among both.
NAME = r"[a-z][a-z0-9-]{0,30}"
# Processes and timers of an app, instances of one process, and units that a droplet has of an app.
MOST_NAMES, MOST_INSTANCES, MOST_UNITS = 16, 32, 64
# Processes and timers that a droplet describes: its own, and what is left from other releases.
MOST_RECORDS = 2 * MOST_UNITS
# Seconds, the longest that one may take to end after its signal, and the longest run of a timer's command.
LONGEST_STOP, LONGEST_RUN = 3600, 86400
# Seconds that an activation gives what an earlier move has left on an idle droplet.
LEFTOVER_STOP = 30
# Seconds for which a process that was started has to stay up.
STAYS_UP = 5.0


class Kind(Word):
    """What stands in the setting ``processes``, and what in ``timers``."""

    PROCESS = "process"
    TIMER = "timer"


class RunOn(Word):
    """The droplets of the live color that run a process or timer: all of them, or one."""

    ALL = "all"
    ONE = "one"


class ProcessState(Word):
    """Where a process or timer stands."""

    # A process is up, or the command of a timer is at work.
    RUNNING = "running"
    # A timer waits for its next moment.
    WAITING = "waiting"
    STARTING = "starting"
    # It has ended by itself, and is started again in some seconds.
    RESTARTING = "restarting"
    # It was asked to end, and has not ended yet.
    STOPPING = "stopping"
    # It is not started again.
    FAILED = "failed"
    STOPPED = "stopped"


class ProcessesRequest(StepRequest):
    """The request of the step ``processes``: the names of those that this droplet is to run, and no others.

    They are names of the release that is activated there.
    """

    run: list[str]


class ProcessRecord(TypedDict):
    """A process or a timer on a droplet; a process with a ``count`` of 2 has two.

    ``kind`` is a :class:`Kind`, ``state`` a :class:`ProcessState`. ``droplets`` is a :class:`RunOn`, or null
    if the droplet has no unit file of it any more: it is left from another release. ``overlap`` is the
    setting. ``enabled`` is whether it starts with the droplet. ``up`` is whether it has run for
    :data:`STAYS_UP` seconds; of a timer, whether it is armed, whatever its command does. ``release`` is the
    one that its unit names, or null. ``result`` is systemd's word for how it ended last: ``success``,
    ``exit-code``, ``signal``, ``timeout``, ``oom-kill`` …; of a timer, how its command did. ``exit_status``
    belongs to it. ``restarts`` counts since it was started. ``since`` is when its
    state has changed, in seconds since the epoch by the droplet's clock, or null.
    """

    name: str
    unit: str
    kind: str
    droplets: str | None
    overlap: bool
    state: str
    enabled: bool
    up: bool
    release: str | None
    result: str
    exit_status: int
    restarts: int
    since: float | None


class ProcessesAnswer(TypedDict):
    """The answer of the step ``processes``, and the facts of that name; bounded by :data:`MOST_RECORDS`."""

    processes: list[ProcessRecord]
