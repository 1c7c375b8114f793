"""Loading an application as a deploy does, with the environment that systemd reads, where it cannot write."""

from __future__ import annotations

import os
import pkgutil
import re

from agent.droplet.local_cage import local_properties
from agent.droplet.mask import Mask
from agent.facts.bounded import COMMAND_SECONDS, LARGEST_TEXT, run, seconds_left
from agent.facts.environment import LONGEST_LINE, Environment, app_environment
from agent.protocol import Json
from agent.system import CallDeadline

# What systemd itself sets for every service.
OF_SYSTEMD = {"LANG", "PATH", "LOGNAME", "USER", "HOME", "SHELL", "INVOCATION_ID", "SYSTEMD_EXEC_PID"}

UNITS = "/etc/systemd/system"

# In addition to the cage that is handed over, and to what the droplet adds for its app: nothing that stays
# can be written, and the service comes first when memory or the processor is short.
LOAD = (
    "ProtectSystem=strict",
    "ReadOnlyPaths=/run",
    "PrivateTmp=no",
    "TemporaryFileSystem=/tmp:mode=1777 /var/tmp:mode=1777 /dev/shm:mode=1777",
    "OOMScoreAdjust=1000",
    "Nice=19",
    "KillSignal=SIGKILL",
)
# The line that announced.sh prints.
CAGED = "bluegreen: caged"


def load(deadline: CallDeadline, request: Json, environment: Environment | None = None) -> Json:
    """Load an application as a deploy does, where it can write nothing.

    :param request: ``app``, ``run_user``, ``load`` (the revision), ``environment`` (the path of the file) and
        ``cage``.
    :param environment: what systemd makes of that file; read here if it is not given.
    :return: ``status`` (None if the application was not loaded), ``cause`` and ``read_only``.
    """
    user, release = request["run_user"], f"/opt/{request['app']}/releases/{request['load']}"
    if environment is None:
        environment = app_environment(deadline, request["environment"], user)
    if environment.error:
        return {"status": None, "cause": "systemd cannot read its environment", "read_only": False}
    seconds = seconds_left(deadline, COMMAND_SECONDS)
    local = local_properties(f"{UNITS}/{request['app']}.service.d/local.conf", request["cage"])
    properties = [*request["cage"], *local, *LOAD, f"User={user}", f"WorkingDirectory={release}"]
    # Whoever waits for its end may be gone.
    properties.append(f"RuntimeMaxSec={seconds + 1:.0f}")
    if os.path.lexists(request["environment"]):
        properties.append(f"EnvironmentFile={request['environment']}")
    status, output = run(
        deadline,
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect"),
        *(f"--property={one}" for one in properties),
        *("--", "/bin/sh", "-c", _announced(), CAGED, f"{release}/.bluegreen/start", "check"),
        seconds=seconds,
    )
    lines = output.splitlines()
    said = [line for line in lines if line.strip() and line != CAGED]
    causes = [line for line in said if re.search(r"^Can't locate| at .+ line \d+", line)]
    cause = hidden((causes or said[-1:] or [""])[0][:LARGEST_TEXT], environment)
    if status != 124 and CAGED not in lines:
        return {"status": None, "cause": f"it could not be kept from writing: {cause}", "read_only": False}
    return {
        "status": status,
        "cause": cause.replace(f"{release}/", "")[:LONGEST_LINE],
        "read_only": bool(re.search("Read-only|readonly database|unable to open database file", output)),
    }


def hidden(text: str, environment: Environment) -> str:
    """Return a text without the values of an app's environment."""
    own = {name: value for name, value in environment.variables.items() if name not in OF_SYSTEMD}
    return Mask(own)(text)


def _announced() -> str:
    """Return the shell program for systemd, which would expand a single $ in a word."""
    text = pkgutil.get_data("agent.facts", "announced.sh")
    assert text is not None  # noqa: S101
    return text.decode().replace("$", "$$")
