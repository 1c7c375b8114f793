"""Running code of a repository in the cage: nothing of it is alive once it has ended."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence

from agent.droplet.limit_output import pass_on

# The same in cage.sh: what is shown of a command's output, in bytes.
FIRST_BYTES, LAST_BYTES = 1 << 18, 1 << 16
# In addition to the cage that is handed over. A unit ends with the job that has started it.
_COMMON = ("TasksMax=1024", "OOMScoreAdjust=500")


def run_caged(unit: str, name: str, user: str, properties: Sequence[str], command: Sequence[str]) -> int:
    """Run a command in a transient unit, pass a bounded part of its output on, and return its exit status.

    :param unit: the job that this is part of.
    :param properties: the cage, and what else the unit is to have; later ones count.
    """
    binding = (f"User={user}", f"BindsTo={unit}.service", f"After={unit}.service", "KillSignal=SIGKILL")
    # systemd takes a $ in a word for a variable unless it is doubled.
    words = [word.replace("$", "$$") for word in command]
    process = subprocess.Popen(
        [
            *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit=caged-{unit}-{name}"),
            *(f"--property={one}" for one in (*binding, *_COMMON, *properties)),
            *("--", *words),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None  # noqa: S101
    with process, contextlib.closing(process.stdout) as output:
        pass_on(output.fileno(), sys.stdout.fileno(), FIRST_BYTES, LAST_BYTES)
    return process.returncode
