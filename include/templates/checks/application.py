"""Loading an application as a deploy does, with the environment that systemd gives it, where it cannot write.

Standard library only, Python 3.8 or later.
"""

import collections
import os
import re
import time

from bounded import COMMAND_SECONDS, LARGEST_TEXT, run
from local_cage import local_properties
from mask import Mask

LONGEST_LINE = 300
NAMES_SHOWN = 5
# What systemd itself tells every service.
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
# Said in the cage, so that what systemd refuses is no word of the app's.
CAGED = "bluegreen: caged"

# An assignment that systemd refuses. It may be a line of a key in base64, with its padding for a value.
REFUSED = re.compile(r"(?m)^(?:\S+: )?Ignoring invalid environment assignment '(.*)")
NAMED = re.compile(r"((?:export )?[A-Za-z_][A-Za-z0-9_.-]{0,40})=[^='\s]")

# The names whose assignments systemd ignores, and the number of such lines that have no name to show.
Environment = collections.namedtuple("Environment", "variables error ignored ignored_unnamed")
NO_ENVIRONMENT = Environment({}, None, [], 0)


def app_environment(deadline, path, user):
    """Return what systemd makes of an ``EnvironmentFile``: it reads it itself, for a unit that prints it.

    So quotes, lines that go on, and what it refuses are as they are for the service.
    """
    if not os.path.lexists(path):
        return NO_ENVIRONMENT
    unit = f"bluegreen-facts-{os.getpid()}-{time.time_ns()}"
    properties = (f"EnvironmentFile={path}", f"User={user}", "NoNewPrivileges=yes")
    status, output = run(
        deadline,
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}"),
        *(f"--property={one}" for one in properties),
        *("--", "/usr/bin/env", "-0"),
    )
    journal = run(deadline, "journalctl", "-q", "-o", "cat", "--no-pager", "-n", "1000", "-u", unit)[1]
    # Nothing but a name is shown: the rest of a line may be a secret.
    refused = [(line, NAMED.match(line)) for line in REFUSED.findall(journal)]
    names = dict.fromkeys(name[1] for _, name in refused if name)
    ignored = list(names)[:NAMES_SHOWN], len({line for line, name in refused if not name})
    if status != 0:
        why = re.search(r"Failed to load environment files: (.+)", journal)
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        return Environment({}, (why[1] if why else last)[:LONGEST_LINE], *ignored)
    pairs = (pair.split("=", 1) for pair in output.split("\0") if "=" in pair)
    return Environment(dict(pairs), None, *ignored)


def load(deadline, request, environment=None):
    """Load an application as a deploy does, where it can write nothing; the status is None if it was not."""
    user, release = request["run_user"], f"/opt/{request['app']}/releases/{request['load']}"
    if environment is None:
        environment = app_environment(deadline, request["environment"], user)
    if environment.error:
        return {"status": None, "cause": "systemd cannot read its environment", "read_only": False}
    seconds = deadline.left(COMMAND_SECONDS)
    local = local_properties(f"{UNITS}/{request['app']}.service.d/local.conf", request["cage"])
    properties = [*request["cage"], *local, *LOAD, f"User={user}", f"WorkingDirectory={release}"]
    # The one who waits for it may be gone.
    properties.append(f"RuntimeMaxSec={seconds + 1:.0f}")
    if os.path.lexists(request["environment"]):
        properties.append(f"EnvironmentFile={request['environment']}")
    status, output = run(
        deadline,
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect"),
        *(f"--property={one}" for one in properties),
        *("--", "/bin/sh", "-c", 'echo "$$0"; exec "$$@"', CAGED, f"{release}/.bluegreen/start", "check"),
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


def hidden(text, environment):
    """Return a text without the values of an app's environment."""
    own = {name: value for name, value in environment.variables.items() if name not in OF_SYSTEMD}
    return Mask(own)(text)
