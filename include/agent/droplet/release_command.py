"""A command in a release, as the app's user, with what the app's service runs with."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.droplet.app_paths import AppPaths
from agent.droplet.caged import run_caged
from agent.droplet.jobs import Job
from agent.droplet.loading import require_environment
from agent.droplet.local_cage import local_properties
from agent.droplet.reserve import is_full, no_space
from agent.droplet.users import STATE_MODE, require_user
from agent.migration import RanCommand
from agent.protocol import AgentError, Code
from agent.system import since_boot

# Seconds that a command has to end after SIGTERM, such as to give a lock of the database back.
STOP_SECONDS = 10
# How a command is ended; what is still alive after that gets SIGKILL.
GENTLE = ("KillSignal=SIGTERM", f"TimeoutStopSec={STOP_SECONDS}")
# Characters of a command that are shown.
LONGEST_TEXT = 200
# A longer line of a command's output is not among its last words: half of a secret would not be hidden.
LONGEST_LINE = 2000
# How Sqitch begins the line of a change, before it runs the change's script: ``  + users .. ``.
CHANGE = re.compile(r"\s*[+-] \S.* \.\.")
# Lines of a command's last words: as many as there are from the change on, or the last ones.
MOST_LINES, LAST_LINES = 12, 3


def cage_of(app: AppPaths, release: str, properties: list[str]) -> tuple[str, ...]:
    """Return the properties of a command: those of the service, and what root adds for it on this droplet.

    :param properties: those of the service's unit that count for loading.
    :raises AgentError: with the code ``failed`` if the user, the release or its environment is not there.
    """
    require_user(app.name)
    if not (app.releases / release).is_dir():
        raise AgentError(Code.FAILED, f"the release {release} is not on this droplet")
    require_environment(app, properties)
    local = local_properties(str(app.paths.units / f"{app.service}.d/local.conf"), properties)
    return (*properties, *local)


def text_of(command: Sequence[str]) -> str:
    """Return the beginning of a command, for people: in one line, whatever script is among its words."""
    whole = " ".join(shlex.join(command).split())
    return whole if len(whole) <= LONGEST_TEXT else f"{whole[:LONGEST_TEXT]}…"


@dataclass(frozen=True)
class ReleaseCommand:
    """A command that may write what the app may write, and has an end.

    :param name: of its unit, unique among the commands of the job.
    :param timeout: seconds until SIGTERM.
    :param setting: the setting that has the timeout, for people.
    """

    job: Job
    name: str
    command: Sequence[str]
    timeout: float
    setting: str

    def run(self, cage: Sequence[str]) -> tuple[RanCommand, str]:
        """Run it to its end; return that, and why it failed, or an empty text.

        :param cage: properties of its unit, see :func:`cage_of`; later ones count.
        """
        app, began, moment = self.job.app, since_boot(), time.time()
        limits = (f"RuntimeMaxSec={self.timeout:g}", f"StateDirectory={app.name}", STATE_MODE)
        words = ["/usr/bin/env", *self.command]
        done = run_caged(self.job.unit, self.name, app.name, (*cage, *GENTLE, *limits), words)
        seconds = since_boot() - began
        ran: RanCommand = {
            "command": text_of(self.command),
            "began": moment,
            "seconds": seconds,
            "exit_status": done.status,
        }
        if done.status == 0:
            return ran, ""
        if is_full(app.root, done.output):
            return ran, f"failed: {no_space(app)}"
        late = f"took longer than {self.timeout:g} s (setting {self.setting})"
        how = late if seconds >= self.timeout else f"ended with {done.status}"
        said = last_words(done.output)
        return ran, f"{how}: {said}" if said else how


def last_words(output: str) -> str:
    """Return the last lines of a command as one line; Sqitch's begin with the change that it worked on."""
    lines = [line for line in output.splitlines() if line.strip() and len(line) <= LONGEST_LINE][-MOST_LINES:]
    changes = [place for place, line in enumerate(lines) if CHANGE.match(line)]
    return " / ".join(line.strip() for line in lines[changes[-1] if changes else -LAST_LINES :])
