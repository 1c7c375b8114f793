"""Loading an application as a deploy does, with the environment that systemd gives it, where it cannot write.

Standard library only, Python 3.8 or later.
"""

import collections
import os
import re
import time

from bounded import LARGEST_TEXT, run
from users import as_user, environment_of

LONGEST_LINE = 300
NAMES_SHOWN = 5
# Values as short as these stand in every text.
SHORTEST_SECRET = 4
# What systemd itself tells every service.
OF_SYSTEMD = {"LANG", "PATH", "LOGNAME", "USER", "HOME", "SHELL", "INVOCATION_ID", "SYSTEMD_EXEC_PID"}

# In namespaces of its own, which end with the command, together with whatever it started: every mount is
# read-only there, and what is for temporary files is empty. Nothing is run where that fails.
CONFINED = "bluegreen: confined"
CONFINE = r"""
set -e
# When memory is short, it must not be the service that is ended.
echo 1000 >/proc/self/oom_score_adj
# Else mount adds what fstab says of a mount to what is said here.
export LIBMOUNT_FSTAB=/dev/null
mounts=$(cat /proc/self/mountinfo)
printf '%s\n' "$mounts" | while read -r _ _ _ _ point options rest; do
    case "$options $rest" in
        # Whoever touches what systemd mounts on demand asks for that; by itself it cannot be written.
        ro* | *" - autofs "*) ;;
        # Spaces in a path are written as numbers.
        *) mount -n -o "remount,bind,ro${options#rw}" "$(printf %b "$point")" ;;
    esac
done
for directory in /tmp /var/tmp /dev/shm; do
    mount -n -t tmpfs none "$directory"
done
mount -n -t proc none /proc
unset LIBMOUNT_FSTAB
echo "$0"
status=0
nice -n 19 "$@" || status=$?
# Not as the last command, which the shell would become: when the first process ends, all others do.
exit "$status"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--")

Environment = collections.namedtuple("Environment", "variables error ignored")
NO_ENVIRONMENT = Environment({}, None, [])


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
    # Of what is ignored only the name is told: its value may be a secret.
    ignored = re.findall(r"Ignoring invalid environment assignment '([^=]{0,60})", journal)
    if status != 0:
        why = re.search(r"Failed to load environment files: (.+)", journal)
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        return Environment({}, (why[1] if why else last)[:LONGEST_LINE], ignored)
    pairs = (pair.split("=", 1) for pair in output.split("\0") if "=" in pair)
    return Environment(dict(pairs), None, list(dict.fromkeys(ignored))[:NAMES_SHOWN])


def load(deadline, request, environment=None):
    """Load an application as a deploy does, where it can write nothing; the status is None if it was not."""
    user, release = request["run_user"], f"/opt/{request['app']}/releases/{request['load']}"
    if environment is None:
        environment = app_environment(deadline, request["environment"], user)
    if environment.error:
        return {"status": None, "cause": "systemd cannot read its environment", "read_only": False}
    # They may be secrets, so they stay out of the process list.
    env = {**environment_of(user), **environment.variables}
    check = (*as_user(user), f"{release}/.bluegreen/start", "check")
    status, output = run(deadline, *NAMESPACES, "sh", "-c", CONFINE, CONFINED, *check, env=env)
    lines = output.splitlines()
    said = [line for line in lines if line.strip() and line != CONFINED]
    causes = [line for line in said if re.search(r"^Can't locate| at .+ line \d+", line)]
    cause = _hidden((causes or said[-1:] or [""])[0][:LARGEST_TEXT], environment.variables)
    if status != 124 and CONFINED not in lines:
        return {"status": None, "cause": f"it could not be kept from writing: {cause}", "read_only": False}
    return {
        "status": status,
        "cause": cause.replace(f"{release}/", "")[:LONGEST_LINE],
        "read_only": bool(re.search("Read-only|readonly database|unable to open database file", output)),
    }


def _hidden(text, variables):
    """Return a text without the values of an app's environment."""
    values = [value for name, value in variables.items() if name not in OF_SYSTEMD]
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return text
