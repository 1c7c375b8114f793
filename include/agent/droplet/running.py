"""Running a command of the app's settings: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.call import Call
from agent.droplet.caged import run_caged
from agent.droplet.jobs import Job
from agent.droplet.users import STATE_MODE, make_build_user
from agent.fields import text, words
from agent.protocol import AgentError, Code, Json
from agent.release_name import RELEASE

USER = r"[a-z][a-z0-9_-]{0,31}"
# A command that is interrupted may put its things in order, unlike a build.
GENTLE = ("KillSignal=SIGTERM", "TimeoutStopSec=10")


def run(call: Call, request: Json) -> Json:
    """Run a command of the app's settings in the cage, in the directory of the release if there is one.

    The job writes what the command writes. A command that fails ends the job with its own exit status.

    Request: ``protocol.RunRequest``. Answer: nothing. Killed anywhere, it takes the command with it.

    :raises SystemExit: with the exit status of a command that fails.
    """
    job, user = Job.of(call, request), text(request, "user", USER)
    release = text(request, "release", f"({RELEASE})?")
    command, cage = words(request, "command"), words(request, "cage")
    found = request.get("environment")
    if not isinstance(found, dict):
        raise AgentError(Code.BAD_REQUEST, "environment: it is no object")
    environment = [f"{name}={value}" for name, value in found.items()]
    if user == job.app.name:
        rights: tuple[str, ...] = (f"StateDirectory={user}", STATE_MODE)
    else:
        make_build_user(user)
        # It runs in a release, which only the app's group may read. What people have put on the droplet for
        # the app alone may be readable for that group, too.
        private = (f"/etc/{job.app.name}", f"/var/lib/{job.app.name}")
        hidden = (f"InaccessiblePaths=-{path}" for path in private)
        rights = (f"SupplementaryGroups={job.app.name}", *hidden)
    properties = (*cage, *GENTLE, f"WorkingDirectory={_directory(job, release)}", *rights)
    done = run_caged(job.unit, "run", user, properties, ["/usr/bin/env", *environment, *command])
    if done.status != 0:
        sys.exit(done.status)
    return {}


def _directory(job: Job, release: str) -> Path:
    """Return the directory of the release that is named, or else of the one that runs, or else none."""
    known = [job.app.releases / release] if release else []
    return next((place for place in (*known, job.app.root / "current") if place.is_dir()), Path("/"))
