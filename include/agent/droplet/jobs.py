"""Work that takes long, as a transient systemd unit: it outlives its connection, its status is its result.

A job has a directory in memory, ``/run/bluegreen/<unit>``: the token of its run, what it was asked to do, its
files and its log. The journal would drop lines on a full disk, and they are what says that the disk is full.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.claims import Claims, stop_jobs, token_of, write_token
from agent.fields import number, text
from agent.installation import Installation
from agent.protocol import LONGEST_JOB, AgentError, Code, JobState, Json, Verb
from agent.shell import assignments
from agent.system import CallDeadline, write_atomically

# Seconds for a job that is stopped to end by itself.
STOP_SECONDS = 10
# Seconds for systemd to answer.
SYSTEMD_WAIT = 10.0
UNIT_PROPERTIES = (
    "LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestampMonotonic,"
    "ExecMainExitTimestampMonotonic,Description"
)
# Scripts that a job may be, each with the files that it finds beside it.
SCRIPTS = {
    "deploy_release.sh": (
        "build.sh",
        "cage.sh",
        "inspect.pl",
        "leftovers.sh",
        "limit_output.py",
        "local_cage.py",
        "revision.psgi",
        "tokens.sh",
    )
}


@dataclass(frozen=True)
class Job:
    """A job of an app.

    :param unit: its name, without ``.service``.
    """

    app: AppPaths
    unit: str

    @classmethod
    def of(cls, call: Call, request: Json) -> Job:
        """Return the job that a request names by ``app`` and ``unit``.

        :raises AgentError: with the code ``bad_request``.
        """
        app = AppPaths.of(call.paths, request)
        return cls(app, text(request, "unit", rf"bluegreen-{app.name}-[A-Za-z0-9_-]{{1,60}}"))

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.app.jobs / self.unit

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.directory / "log"

    @property
    def program(self) -> Path:
        """What it was asked to do, as JSON."""
        return self.directory / "program.json"

    def properties(self, deadline: CallDeadline) -> dict[str, str]:
        """Return its unit's properties in systemd's words.

        :raises AgentError: with the code ``failed`` if systemd does not answer for some seconds; it does not
            while it is replaced by an update.
        """
        output = ""

        def ask() -> dict[str, str] | None:
            nonlocal output
            command = ("systemctl", "show", f"{self.unit}.service", f"--property={UNIT_PROPERTIES}")
            status, output = deadline.run(*command)
            pairs = (line.partition("=") for line in output.splitlines())
            known = {key: value for key, found, value in pairs if found}
            return known if status == 0 and "LoadState" in known else None

        known = deadline.wait_for(SYSTEMD_WAIT, ask, pause=0.2)
        if known is None:
            message = f"systemd does not say where {self.unit} stands: {output[-300:]}"
            raise AgentError(Code.FAILED, message)
        return known


def start_job(call: Call, request: Json) -> Json:
    """Start a job, or attach to the one that is there; the droplet is this run's from then on.

    A job of that name that is at work, or that ended for the same run, is left as it is. One that ended for
    another run is replaced. Jobs of earlier runs are stopped before, unless they do the very same.

    Request: ``app``, ``unit``, ``token``, ``run_id`` (one line), ``timeout`` (seconds after which systemd
    ends the job) and ``program``: a ``verb`` and its ``request``, or a ``script`` and its ``settings``.
    Answer: ``attached``. Codes: ``busy``, ``claimed``, ``failed``; nothing was started then. Killed before
    the unit is started, it leaves files that the next call replaces; after that the next call attaches to the
    job.
    """
    job, token = Job.of(call, request), token_of(request)
    run_id = text(request, "run_id", r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*")
    timeout = number(request, "timeout", 1, LONGEST_JOB)
    _check_program(request)
    claims = Claims(job.app, call.deadline)
    with claims.held(token, "nothing was started, trigger a new run"):
        claims.take(token, job.unit if _is_the_same(job, request["program"]) else "")
        write_token(job.directory / "token", token)
        known = job.properties(call.deadline)
        if _goes_on(known, run_id):
            return {"attached": True}
        if known.get("ActiveState") in ("active", "failed"):
            call.deadline.run("systemctl", "stop", f"{job.unit}.service")
            call.deadline.run("systemctl", "reset-failed", f"{job.unit}.service")
        command = _prepared(call, job, request["program"])
        _start(call.deadline, job, run_id, timeout, command)
    return {"attached": False}


def end_job(call: Call, request: Json) -> Json:
    """Stop a job and remove every trace of it, so that it can be started anew.

    Request: ``app``, ``unit``, ``token``. Answer: nothing. Codes: ``busy``; ``claimed``: the job may be
    another run's by now. Killed anywhere, it leaves traces of a stopped job; the next call removes them.
    """
    job = Job.of(call, request)
    with Claims(job.app, call.deadline).held(token_of(request), "its job was left alone"):
        stop_jobs(call.deadline, job.app, [job.unit])
    return {}


def state_of(properties: Mapping[str, str]) -> JobState:
    """Return where a job stands, by its unit's properties."""
    active, sub = properties.get("ActiveState", "inactive"), properties.get("SubState", "")
    if properties.get("LoadState") == "not-found" or active == "inactive":
        return JobState.MISSING
    if (active, sub) == ("active", "exited"):
        return JobState.SUCCESS
    return JobState.FAILED if active == "failed" else JobState.RUNNING


def _goes_on(properties: Mapping[str, str], run_id: str) -> bool:
    """Return whether a job is left as it is."""
    active = properties.get("ActiveState")
    if active in ("activating", "deactivating", "reloading"):
        return True
    if active not in ("active", "failed"):
        return False
    return properties.get("Description") == run_id or properties.get("SubState") == "running"


def _check_program(request: Json) -> None:
    """Make sure that the agent can do what a job is asked to do.

    :raises AgentError: with the code ``bad_request``.
    """
    program = request.get("program")
    if isinstance(program, dict):
        is_verb = program.get("verb") == Verb.RUN.value and isinstance(program.get("request"), dict)
        is_script = program.get("script") in SCRIPTS and isinstance(program.get("settings"), dict)
        is_script = is_script and set(program.get("requests") or ()) <= {Verb.ACTIVATE.value}
        if is_verb or is_script:
            return
    raise AgentError(Code.BAD_REQUEST, f"program: {program!r:.60} is not usable")


def _kept(program: Json) -> bytes:
    return json.dumps(program, sort_keys=True).encode()


def _is_the_same(job: Job, program: Json) -> bool:
    try:
        return job.program.read_bytes() == _kept(program)
    except OSError:
        return False


def _prepared(call: Call, job: Job, program: Json) -> tuple[str, ...]:
    """Write a job's files, and return the rest of systemd's command line.

    :raises AgentError: with the code ``bad_request`` if a setting cannot be one.
    """
    job.log.unlink(missing_ok=True)
    write_atomically(job.program, _kept(program))
    # The version that has started it, whatever is installed by then.
    agent = str(Installation(call.paths).path)
    if "verb" in program:
        request = job.directory / "request.json"
        write_atomically(request, json.dumps(program["request"]).encode())
        stdin = f"--property=StandardInput=file:{request}"
        return (stdin, "--", sys.executable, "-B", agent, program["verb"], "-")
    try:
        settings = assignments({**program["settings"], "agent": agent})
    except (TypeError, ValueError) as error:
        raise AgentError(Code.BAD_REQUEST, f"settings: {error}") from None
    write_atomically(job.directory / "settings.sh", settings.encode())
    for verb, request in (program.get("requests") or {}).items():
        write_atomically(job.directory / f"{verb}.json", json.dumps(request).encode())
    for name, data in files_of(program["script"]).items():
        write_atomically(job.directory / name, data)
    return "--", "/bin/bash", str(job.directory / program["script"])


def files_of(script: str) -> dict[str, bytes]:
    """Return a script and the files that it finds beside it, by their names."""
    directory = resources.files("agent.droplet")
    return {name: directory.joinpath(name).read_bytes() for name in (script, *SCRIPTS[script])}


def _start(deadline: CallDeadline, job: Job, run_id: str, timeout: float, command: tuple[str, ...]) -> None:
    """Start the unit.

    Not ``--collect``: the exit status is to be read after the job's end.

    :raises AgentError: if systemd does not start it.
    """
    properties = (
        "RemainAfterExit=yes",
        f"StandardOutput=append:{job.log}",
        "StandardError=inherit",
        f"RuntimeMaxSec={timeout:.0f}",
        f"TimeoutStopSec={STOP_SECONDS}",
    )
    status, output = deadline.run(
        *("systemd-run", "--quiet", f"--unit={job.unit}", f"--description={run_id}"),
        *(f"--property={one}" for one in properties),
        *command,
    )
    if status != 0:
        raise AgentError(Code.FAILED, f"systemd does not start {job.unit}: {output[-300:]}")
