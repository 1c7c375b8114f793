"""What systemd makes of an app's environment file."""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from agent.facts.bounded import LONGEST_LINE, run
from agent.protocol import Json
from agent.system import CallDeadline

NAMES_SHOWN = 5

# An assignment that systemd refuses. It may be a line of a key in base64, with its padding for a value.
REFUSED = re.compile(r"(?m)^(?:\S+: )?Ignoring invalid environment assignment '(.*)")
NAMED = re.compile(r"((?:export )?[A-Za-z_][A-Za-z0-9_.-]{0,40})=[^='\s]")


@dataclass(frozen=True)
class Environment:
    """An app's environment.

    :param error: why systemd cannot read it, or None.
    :param ignored: the first names whose assignments systemd ignores.
    :param ignored_unnamed: the number of such lines that have no name to show.
    :param readable: whether everybody on the droplet can read it.
    :param changeable: whether others than root can change it.
    """

    error: str | None = None
    ignored: tuple[str, ...] = ()
    ignored_unnamed: int = 0
    readable: bool = False
    changeable: bool = False

    def as_json(self) -> Json:
        """Return what may leave the machine."""
        return {
            "error": self.error,
            "ignored": self.ignored,
            "ignored_unnamed": self.ignored_unnamed,
            "readable": self.readable,
            "changeable": self.changeable,
        }


NO_ENVIRONMENT = Environment()


def app_environment(deadline: CallDeadline, path: str, user: str) -> Environment:
    """Return what systemd refuses of an ``EnvironmentFile``, which it reads for a unit that does nothing.

    So quotes, lines that go on, and what systemd refuses are as they are for the service.
    """
    if not os.path.lexists(path):
        return NO_ENVIRONMENT
    unit = f"bluegreen-facts-{os.getpid()}-{time.time_ns()}"
    properties = (f"EnvironmentFile={path}", f"User={user}", "NoNewPrivileges=yes")
    status, output = run(
        deadline,
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}"),
        *(f"--property={one}" for one in properties),
        *("--", "/bin/true"),
    )
    # systemd's words may be on their way still.
    run(deadline, "journalctl", "--sync")
    journal = run(deadline, "journalctl", "-q", "-o", "cat", "--no-pager", "-n", "1000", "-u", unit)[1]
    # Nothing but a name is shown: the rest of a line may be a secret.
    refused = [(line, NAMED.match(line)) for line in REFUSED.findall(journal)]
    names = tuple(dict.fromkeys(name[1] for _, name in refused if name))[:NAMES_SHOWN]
    unnamed = len({line for line, name in refused if not name})
    error = None
    if status != 0:
        why = re.search(r"Failed to load environment files: (.+)", journal)
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        error = (why[1] if why else last)[:LONGEST_LINE]
    return Environment(error, names, unnamed, *_rights(path))


def _rights(path: str) -> tuple[bool, bool]:
    """Return whether everybody can read a file, and whether others than root can change it."""
    try:
        about = Path(path).stat()
    except OSError:
        # A link that leads nowhere; systemd reports it.
        return False, False
    by_group = about.st_gid != 0 and bool(about.st_mode & stat.S_IWGRP)
    changeable = about.st_uid != 0 or by_group or bool(about.st_mode & stat.S_IWOTH)
    return bool(about.st_mode & stat.S_IROTH), changeable
