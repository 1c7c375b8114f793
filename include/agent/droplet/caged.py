"""Running code of a repository in the cage: nothing of it is alive once it has ended."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from agent.droplet.limit_output import pass_on

# What is shown of a command's output, in bytes.
FIRST_BYTES, LAST_BYTES = 1 << 18, 1 << 16
# In addition to the cage that is handed over. A unit ends with the job that has started it.
_COMMON = ("TasksMax=1024", "OOMScoreAdjust=500")


@dataclass(frozen=True)
class Caged:
    """How a command in the cage ended.

    :param status: the exit status of ``systemd-run``, which is the command's own if the command ran.
    :param output: the part of its output that was passed on, at most some 320 KiB.
    """

    status: int
    output: str


def run_caged(
    unit: str,
    name: str,
    user: str,
    properties: Sequence[str],
    command: Sequence[str],
    stdin: IO[bytes] | None = None,
) -> Caged:
    """Run a command in a transient unit, and pass a bounded part of its output on to the job's log.

    :param unit: the job that this is part of.
    :param properties: the cage, and what else the unit is to have, as ``Name=value``; later ones count.
    :param stdin: an open file that the command reads; default: nothing.
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
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None  # noqa: S101
    with process, contextlib.closing(process.stdout) as output:
        # The command writes to the log itself, so what was printed before has to be there first.
        sys.stdout.flush()
        passed = pass_on(output.fileno(), sys.stdout.fileno(), FIRST_BYTES, LAST_BYTES)
    return Caged(process.returncode, passed.decode(errors="replace"))
