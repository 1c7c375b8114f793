"""Work that takes long, as a transient systemd unit: it outlives its connection, its status is its result.

A job has a directory in memory, ``/run/bluegreen/<unit>``: the token of its run, its program, its log, and
what its steps answer. The journal would drop lines on a full disk, and they are what says that the disk is
full. Memory also keeps what is secret in a program off the disk.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.claims import Claims, stop_jobs, token_in, token_of, write_token
from agent.droplet.guests import (
    PREFIX,
    forgotten,
    is_guest,
    refuse_later_start,
    remembered_end,
    require_first_start,
)
from agent.fields import number, text
from agent.installation import Installation
from agent.protocol import LONGEST_JOB, AgentError, Code, JobState, Json, Kind, Verb
from agent.system import CallDeadline, remove_tree, write_atomically

# Seconds for a job that is stopped to end by itself.
STOP_SECONDS = 10
# Seconds for systemd to answer.
SYSTEMD_WAIT = 10.0
UNIT_PROPERTIES = (
    "LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestampMonotonic,"
    "ExecMainExitTimestampMonotonic,Description"
)
# Steps of one job.
MOST_STEPS = 10
# Bytes of what the steps of a job answer together.
LARGEST_ANSWERS = 1 << 16


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
        return cls(app, text(request, "unit", rf"({PREFIX}|bluegreen-){app.name}-[A-Za-z0-9_-]{{1,60}}"))

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
        """What it was asked to do, as JSON; it may hold secrets."""
        return self.directory / "program.json"

    @property
    def answers(self) -> Path:
        """What its steps have answered, as JSON, once all of them have."""
        return self.directory / "answers.json"

    @contextlib.contextmanager
    def claimed(self, deadline: CallDeadline, refusal: str) -> Iterator[None]:
        """Hold the claims while units change hands; other runs wait.

        :raises AgentError: with the code ``claimed`` and this refusal, if another run has the droplet.
        """
        with contextlib.ExitStack() as stack:
            try:
                token = token_in(self.directory / "token")
                stack.enter_context(Claims(self.app, deadline).held(token, ""))
            except AgentError:
                raise AgentError(Code.CLAIMED, refusal) from None
            yield

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

    Not so for a one-off command (``bluegreen-run-…``): it claims nothing, and its token means nothing. It is
    started once: a later call attaches to it, or to its end, which is remembered; the code is ``failed`` if
    there is neither.
    A job of that name that is at work, or that ended for the same run, is left as it is. One that ended for
    another run is replaced. Jobs of earlier runs are stopped before, unless they do the very same.

    Request: ``app``, ``unit``, ``token``, ``run_id`` (one line), ``timeout`` (seconds after which systemd
    ends the job) and ``program`` (``protocol.Program``); each of its steps is for the same app and unit.
    Answer: ``attached``. Codes: ``busy``, ``claimed``, ``failed``; nothing was started then. Killed before
    the unit is started, it leaves files that the next call replaces; after that the next call attaches to the
    job.
    """
    job, token = Job.of(call, request), token_of(request)
    run_id = text(request, "run_id", r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*")
    timeout = number(request, "timeout", 1, LONGEST_JOB)
    program = _program_of(request)
    if is_guest(job.unit):
        job.app.jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_jobs(call.deadline, job.app, [one for one in forgotten(job.app) if one != job.unit])
        return _started(call, job, run_id, program, timeout)
    claims = Claims(job.app, call.deadline)
    with claims.held(token, "nothing was started, trigger a new run"):
        claims.take(token, job.unit if _is_the_same(job, program) else "")
        write_token(job.directory / "token", token)
        return _started(call, job, run_id, program, timeout)


def end_job(call: Call, request: Json) -> Json:
    """Stop a job and remove every trace of it, so that it can be started anew.

    A build's artifact is such a trace: Airflow ends the job once it has fetched that.

    A one-off command is the exception: it is not started again, and its end is remembered.

    Request: ``app``, ``unit``, ``token``. Answer: nothing. Codes: ``busy``; ``claimed``: the job may be
    another run's by now. Killed anywhere, it leaves traces of a stopped job; the next call removes them.
    """
    job, token = Job.of(call, request), token_of(request)
    if is_guest(job.unit):
        stop_jobs(call.deadline, job.app, [job.unit])
        refuse_later_start(job.app, job.unit)
        return {}
    with Claims(job.app, call.deadline).held(token, "its job was left alone"):
        stop_jobs(call.deadline, job.app, [job.unit])
        for path in job.app.outgoing.glob("*"):
            remove_tree(path)
    return {}


def state_of(properties: Mapping[str, str]) -> JobState:
    """Return where a job stands, by its unit's properties."""
    active, sub = properties.get("ActiveState", "inactive"), properties.get("SubState", "")
    if properties.get("LoadState") == "not-found" or active == "inactive":
        return JobState.MISSING
    if (active, sub) == ("active", "exited"):
        return JobState.SUCCESS
    return JobState.FAILED if active == "failed" else JobState.RUNNING


def answers_of(job: Job) -> Json:
    """Return what the steps of a job have answered, by verb; nothing if they have not."""
    try:
        with job.answers.open("rb") as file:
            answers = json.loads(file.read(LARGEST_ANSWERS + 1))
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _goes_on(properties: Mapping[str, str], run_id: str) -> bool:
    """Return whether a job is left as it is."""
    active = properties.get("ActiveState")
    if active in ("activating", "deactivating", "reloading"):
        return True
    if active not in ("active", "failed"):
        return False
    return properties.get("Description") == run_id or properties.get("SubState") == "running"


def _started(call: Call, job: Job, run_id: str, program: Json, timeout: float) -> Json:
    """Start a job, or attach to it; nobody else starts or ends it meanwhile."""
    known = job.properties(call.deadline)
    if _goes_on(known, run_id):
        return {"attached": True}
    if is_guest(job.unit):
        if remembered_end(job.app, job.unit):
            return {"attached": True}
        require_first_start(job.app, job.unit)
    if known.get("ActiveState") in ("active", "failed"):
        call.deadline.run("systemctl", "stop", f"{job.unit}.service")
        call.deadline.run("systemctl", "reset-failed", f"{job.unit}.service")
    job.log.unlink(missing_ok=True)
    job.answers.unlink(missing_ok=True)
    write_atomically(job.program, _kept(program))
    _start(call, job, run_id, timeout)
    return {"attached": False}


def _program_of(request: Json) -> Json:
    """Return a request's program if the agent can do it; an error shows nothing of a step's request.

    :raises AgentError: with the code ``bad_request``.
    """
    program = request.get("program")
    steps = program.get("steps") if isinstance(program, dict) else None
    if not isinstance(program, dict) or not isinstance(steps, list) or not 1 <= len(steps) <= MOST_STEPS:
        raise AgentError(Code.BAD_REQUEST, f"program: it has no list of 1 to {MOST_STEPS} steps")
    for step in steps:
        verb = step.get("verb") if isinstance(step, dict) else None
        if not isinstance(verb, str) or verb not in {one.value for one in Verb if one.kind is Kind.STEP}:
            raise AgentError(Code.BAD_REQUEST, f"program: {verb!r:.60} is no step of a job")
        # Whatever else a job does takes a claim.
        if (verb == Verb.RUN_COMMAND) is not is_guest(request["unit"]):
            raise AgentError(Code.BAD_REQUEST, f"program: {verb} is no step of the job {request['unit']}")
        for key in ("app", "unit"):
            if not isinstance(step.get("request"), dict) or step["request"].get(key) != request[key]:
                raise AgentError(Code.BAD_REQUEST, f"program: its step {verb} is not for the job's {key}")
    return program


def _kept(program: Json) -> bytes:
    return json.dumps(program, sort_keys=True).encode()


def _is_the_same(job: Job, program: Json) -> bool:
    try:
        return job.program.read_bytes() == _kept(program)
    except OSError:
        return False


def _start(call: Call, job: Job, run_id: str, timeout: float) -> None:
    """Start the unit.

    Not ``--collect``: the exit status is to be read after the job's end. The program is standard input,
    because everybody can read a command line.

    :raises AgentError: if systemd does not start it.
    """
    properties = (
        "RemainAfterExit=yes",
        f"StandardInput=file:{job.program}",
        f"StandardOutput=append:{job.log}",
        "StandardError=inherit",
        f"RuntimeMaxSec={timeout:.0f}",
        f"TimeoutStopSec={STOP_SECONDS}",
    )
    # The version that has started it, whatever is installed by then.
    agent = str(Installation(call.paths).path)
    status, output = call.deadline.run(
        *("systemd-run", "--quiet", f"--unit={job.unit}", f"--description={run_id}"),
        *(f"--property={one}" for one in properties),
        *("--", sys.executable, "-B", agent, Verb.JOB.value, "-"),
    )
    if status != 0:
        raise AgentError(Code.FAILED, f"systemd does not start {job.unit}: {output[-300:]}")
