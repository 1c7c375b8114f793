"""Loading an app once, confined like its service, before the service is touched."""

from __future__ import annotations

import re
from pathlib import Path

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.caged import run_caged
from agent.droplet.failure_cause import failure_cause
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.local_cage import local_properties
from agent.droplet.reserve import is_full, no_space
from agent.droplet.users import STATE_MODE, require_user
from agent.fields import number, text, words
from agent.protocol import AgentError, Code, Json
from agent.release_name import RELEASE
from agent.system import since_boot

LONGEST_LOAD = 3600.0
# Seconds after which a command that was told to end is killed, and then its unit.
KILL_AFTER, UNIT_AFTER = 5, 10.0
# Characters of a line that are looked at: a line may be as long as the whole output.
LONGEST_LINE = 2000
# How Perl names the place of an error, and what it puts before errors of files that load others.
PLACE = re.compile(r" at .+ line \d+")
LOADING = re.compile(r"^(?:Error while loading [^:]+: )+")


def load(call: Call, request: Json) -> Json:
    """Load an app as its service would, as the app's user.

    What the app needs beyond the cage is in the drop-in of its unit, which is root's.

    Request: ``protocol.LoadRequest``. Answer: nothing. Codes: ``failed``, with the app's own reason. Killed
    anywhere, it takes the app with it.
    """
    job, command = Job.of(call, request), words(request, "command")
    release, timeout = text(request, "release", RELEASE), number(request, "timeout", 1, LONGEST_LOAD)
    app, properties = job.app, words(request, "properties")
    directory = app.releases / release
    require_user(app.name)
    if not command or not directory.is_dir():
        raise AgentError(Code.FAILED, f"the release {release} is not on this droplet")
    require_environment(app, properties)
    say("loading the app")
    local = local_properties(str(app.paths.units / f"{app.service}.d/local.conf"), properties)
    limits = (f"StateDirectory={app.name}", STATE_MODE, f"RuntimeMaxSec={timeout + UNIT_AFTER:g}")
    limited = ["/usr/bin/timeout", f"--kill-after={KILL_AFTER}", f"{timeout:g}", *command]
    began = since_boot()
    done = run_caged(job.unit, "load", app.name, (*properties, *local, *limits), limited)
    if done.status == 0:
        return {}
    if since_boot() - began >= timeout:
        raise AgentError(Code.FAILED, f"the app does not load: not within {timeout:g} s")
    if is_full(app.root, done.output):
        raise AgentError(Code.FAILED, f"the app does not load: {no_space(app)}")
    raise AgentError(Code.FAILED, f"the app does not load: {perl_cause(done.output, directory)}")


def require_environment(app: AppPaths, properties: list[str]) -> None:
    """Make sure that the files are there that the app's environment is read from; systemd would not say why.

    :raises AgentError: with the code ``failed``.
    """
    for one in properties:
        name, _, path = one.partition("=")
        if name == "EnvironmentFile" and path.startswith("/") and not (app.paths.root / path[1:]).is_file():
            raise AgentError(Code.FAILED, f"{path} is not on this droplet; run a deploy, which delivers it")


def perl_cause(output: str, directory: Path) -> str:
    """Return the line that explains why Perl ended, without the release's directory in its paths."""
    lines = (line[:LONGEST_LINE] for line in output.splitlines())
    cause = next((line for line in lines if PLACE.search(line)), None) or failure_cause(output)
    return LOADING.sub("", cause.strip(), count=1).replace(f"{directory}/", "")
