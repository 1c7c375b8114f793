"""Loading an application as a deploy does, with what its service runs with, where it cannot write."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.droplet.loading import perl_cause
from agent.droplet.local_cage import local_properties
from agent.droplet.mask import environment_of
from agent.droplet.masking import app_mask
from agent.facts.bounded import COMMAND_SECONDS, LONGEST_LINE, run, seconds_left
from agent.paths import Paths
from agent.protocol import Json
from agent.system import CallDeadline

# In addition to the properties that are handed over, and to what the droplet adds for its app: nothing that
# stays can be written, and the service comes first when memory or the processor is short.
LOAD = (
    "ProtectSystem=strict",
    "ReadOnlyPaths=/run",
    "PrivateTmp=no",
    "TemporaryFileSystem=/tmp:mode=1777 /var/tmp:mode=1777 /dev/shm:mode=1777",
    "OOMScoreAdjust=1000",
    "Nice=19",
    "KillSignal=SIGKILL",
)
# The property of each file of variables, and those that would let a load write.
ENVIRONMENT = "EnvironmentFile="
WRITABLE = ("StateDirectory=", "ReadWritePaths=", "BindPaths=", "CacheDirectory=", "LogsDirectory=")
# The line that announced.sh prints.
CAGED = "bluegreen: caged"


def load(deadline: CallDeadline, request: Json) -> Json:
    """Load an application as a deploy does, where it can write nothing.

    :param request: :class:`agent.protocol.LoadRequest`.
    :return: ``status`` (None if the application was not loaded), ``cause`` and ``read_only``.
    """
    status, output, hide = caged(deadline, request, request["timeout"])
    lines = output.splitlines()
    if status == 0:
        return {"status": 0, "cause": "", "read_only": False}
    said = "\n".join(line for line in lines if line != CAGED)
    directory = AppPaths.of(Paths(), request).releases / request["release"]
    cause = hide(perl_cause(said, directory))[:LONGEST_LINE]
    if status != 124 and CAGED not in lines:
        return {"status": None, "cause": f"systemd did not start it in a cage: {cause}", "read_only": False}
    is_read_only = bool(re.search("Read-only|readonly database|unable to open database file", output))
    return {"status": status, "cause": cause, "read_only": is_read_only}


def caged(deadline: CallDeadline, request: Json, timeout: float) -> tuple[int, str, Callable[[str], str]]:
    """Run the command of a request where it can write nothing.

    :param request: :class:`agent.protocol.LoadRequest`.
    :param timeout: seconds that the command may take at the most.
    :return: its exit status, its output with the line :data:`CAGED` if it was started in the cage, and what
        hides the values of its environment, and what is secret in its delivered files.
    """
    app = AppPaths.of(Paths(), request)
    given = [one for one in request["properties"] if not one.startswith(WRITABLE)]
    files = [one.partition("=")[2].removeprefix("-") for one in given if one.startswith(ENVIRONMENT)]
    seconds = seconds_left(deadline, min(COMMAND_SECONDS, timeout))
    local = local_properties(str(app.paths.units / f"{app.service}.d/local.conf"), request["properties"])
    # Whoever waits for its end may be gone.
    properties = [*given, *local, *LOAD, f"User={app.name}", f"RuntimeMaxSec={seconds + 1:.0f}"]
    status, output = run(
        deadline,
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect"),
        *(f"--property={one}" for one in properties),
        *("--", "/bin/sh", "-c", _announced(), CAGED, *(_word(one) for one in request["command"])),
        seconds=seconds,
    )
    return status, output, app_mask(app, *map(environment_of, map(Path, files)))


def _announced() -> str:
    """Return the shell program for systemd."""
    text = pkgutil.get_data("agent.facts", "announced.sh")
    assert text is not None  # noqa: S101
    return _word(text.decode())


def _word(text: str) -> str:
    """Return a word for systemd, which would expand a single $ in it."""
    return text.replace("$", "$$")
