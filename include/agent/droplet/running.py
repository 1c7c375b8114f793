"""Running a command of the app's settings: part of a job, see :mod:`agent.droplet.jobs`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from agent.call import Call
from agent.droplet.caged import run_caged
from agent.droplet.jobs import Job
from agent.fields import REVISION, text
from agent.protocol import AgentError, Code, Json

USER = r"[a-z][a-z0-9_-]{0,31}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A command that is interrupted may put its things in order, unlike a build.
GENTLE = ("KillSignal=SIGTERM", "TimeoutStopSec=10")


def run(call: Call, request: Json) -> NoReturn:
    """Run a command of the app's settings in the cage, in the directory of the release if there is one.

    It is a job: it ends with the command's exit status, and writes what the command writes.

    Request: ``app``, ``unit`` (the job's), ``user``, ``revision``, ``command`` (its words), ``environment``
    (what it finds there) and ``cage`` (properties of its unit). Answer: none. Killed anywhere, it takes the
    command with it.
    """
    os.environ["PATH"] = PATH
    job, user, revision = (
        Job.of(call, request),
        text(request, "user", USER),
        text(request, "revision", REVISION),
    )
    words, cage = (_words(request, key) for key in ("command", "cage"))
    found = request.get("environment")
    if not isinstance(found, dict):
        raise AgentError(Code.BAD_REQUEST, "environment: it is no object")
    environment = [f"{name}={value}" for name, value in found.items()]
    state = (f"StateDirectory={user}",) if user == job.app.name else ()
    properties = (*cage, *GENTLE, f"WorkingDirectory={_directory(job, revision)}", *state)
    sys.exit(run_caged(job.unit, "run", user, properties, ["/usr/bin/env", *environment, *words]))


def _directory(job: Job, revision: str) -> Path:
    """Return the release that the command is of, or else the one that runs, or else none."""
    places = (job.app.root / "releases" / revision, job.app.root / "current")
    return next((place for place in places if place.is_dir()), Path("/"))


def _words(request: Json, key: str) -> list[str]:
    value = request.get(key)
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise AgentError(Code.BAD_REQUEST, f"{key}: {value!r:.60} is no list of words")
    return value
