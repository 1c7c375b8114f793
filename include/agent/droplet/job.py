"""The program of a job: its steps, one after another, in the unit that ``start_job`` has started."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sys
import traceback
from collections.abc import Iterator

from agent.call import Call
from agent.droplet.claims import Claims, remove_leftovers, token_in
from agent.droplet.jobs import LARGEST_ANSWERS, Job
from agent.droplet.receiving import make_directories, sent_file
from agent.droplet.reserve import is_full, keep_room, make_room, no_space
from agent.droplet.users import group_of, let_in, require_user
from agent.protocol import AgentError, Code, Json, Verb
from agent.system import write_atomically

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds to wait for another deploy or build of the app on this droplet.
TURN_WAIT = 30.0
# Steps that put nothing on the droplet, and are in nobody's way: they need neither a turn nor room.
ASIDE = (Verb.RUN, Verb.RUN_COMMAND, Verb.PROCESSES)
# Only a job with one of these may stop the app to make room: it starts the app again, or nobody needs it.
STARTS_THE_APP = (Verb.BUILD, Verb.ACTIVATE, Verb.RESTORE)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# The keys of a step's request that name a file in ``incoming``.
SENT = ("source", "artifact")


def job(call: Call, request: Json) -> Json:
    """Do the steps of a job until one fails, and leave their answers in the job's directory.

    It writes what it does into the job's log. On failure its last line is the cause and its exit status 1,
    unless a command of the app's settings failed: then the status is the command's.

    Request: ``protocol.Program``, which ``start_job`` has checked. Answer: nothing. Codes: those of the
    steps; ``busy`` if another deploy of the app does not end; ``failed``. Killed anywhere, it leaves what its
    steps leave; the next job removes what is half done.
    """
    os.environ.update({"PATH": PATH, "LC_ALL": "C.UTF-8"})
    os.umask(0o022)
    try:
        steps = [(Verb(step["verb"]), step["request"]) for step in request["steps"]]
        this = Job.of(call, steps[0][1])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise AgentError(Code.BAD_REQUEST, "it is no program; a job is started by start_job") from None
    with _frame(call, this, steps):
        answers = {verb.value: _answer_of(this, verb, wanted) for verb, wanted in steps}
    data = json.dumps(answers).encode()
    if len(data) > LARGEST_ANSWERS:
        raise AgentError(Code.TOO_LARGE, f"the steps of {this.unit} answer more than {LARGEST_ANSWERS} bytes")
    write_atomically(this.answers, data)
    return {}


def _answer_of(this: Job, verb: Verb, request: Json) -> Json:
    """Do one step.

    :raises AgentError: if it fails, whatever the reason is.
    """
    try:
        return verb.function()(Call.of(verb), request)
    except AgentError:
        raise
    except OSError as error:
        # Some programs do not name a full disk as their reason.
        if error.errno in NO_ROOM or is_full(this.app.root):
            raise AgentError(Code.FAILED, no_space(this.app)) from None
        raise AgentError(Code.FAILED, f"{verb} failed: {error}") from None
    except Exception as error:
        # What a step reads was made by strangers: whatever it makes of that, the log ends with a cause.
        traceback.print_exc(file=sys.stdout)
        raise AgentError(Code.FAILED, f"{verb} failed: {type(error).__name__}: {error}") from None


@contextlib.contextmanager
def _frame(call: Call, this: Job, steps: list[tuple[Verb, Json]]) -> Iterator[None]:
    """Keep other jobs of the app away, and let the steps find room, unless they need neither."""
    if all(verb in ASIDE for verb, _ in steps):
        yield
        return
    sent = _sent(steps)
    with _turn(call, this):
        app = this.app
        make_directories(app)
        require_user(app.name)
        let_in(app.releases, group_of(app))
        # Of the cache a build lets its user in.
        for directory in (app.root / "cache", app.root / "activated"):
            directory.mkdir(mode=0o700, exist_ok=True)
        (app.root / "activated").chmod(0o700)
        # Everybody could read what an older version has built there.
        if (app.root / "cache").stat().st_mode & 0o007:
            (app.root / "cache").chmod(0o750)
        token = token_in(this.directory / "token")
        with Claims(app, call.deadline).held(token, "nothing was changed"):
            # This job has its turn, so what is half done is nobody's.
            remove_leftovers(call.deadline, app, keep=sent)
            if any(verb in STARTS_THE_APP for verb, _ in steps):
                make_room(app)
        try:
            yield
        finally:
            for name in sent:
                (app.incoming / name).unlink(missing_ok=True)
        keep_room(app)


def _sent(steps: list[tuple[Verb, Json]]) -> set[str]:
    """Return the names of the files in ``incoming`` that were sent for some steps."""
    named = [request[key] for _, request in steps for key in SENT if request.get(key)]
    named += [request["earlier"]["artifact"] for _, request in steps if request.get("earlier")]
    return {sent_file(one)["name"] for one in named}


@contextlib.contextmanager
def _turn(call: Call, this: Job) -> Iterator[None]:
    """Be the only deploy or build of the app on this droplet.

    :raises AgentError: with the code ``busy``.
    """
    lock = os.open(this.app.jobs / f"{this.app.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def locked() -> bool | None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return True

    try:
        if call.deadline.wait_for(TURN_WAIT, locked, pause=0.1) is None:
            message = f"another deploy of {this.app.name} is at work on this droplet"
            raise AgentError(Code.BUSY, message)
        yield
    finally:
        os.close(lock)
