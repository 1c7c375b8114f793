"""Files that Airflow sends to a droplet: room for them, and the proof that they arrived as they were sent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from pathlib import Path

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.claims import Claims, token_of
from agent.droplet.reserve import check_room, make_room
from agent.fields import number, text
from agent.protocol import AgentError, Code, Json, SentFile
from agent.release_name import DIGEST

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}"
# Bytes, the largest file that is sent.
LARGEST = 1 << 33
CHUNK = 1 << 20


def receive(call: Call, request: Json) -> Json:
    """Get ready for a file that Airflow sends into the app's ``incoming``.

    Request: ``app``, ``token``, ``file`` (``protocol.SentFile``), ``optional`` (true for a file that nothing
    depends on: it gets none of the disk's reserve). Answer: ``needed``, false if the very file is there.
    Codes: ``busy``, ``claimed``, ``failed`` if there is no room for it. Killed anywhere, it leaves a
    directory, or room; the next call finishes.
    """
    app, file = AppPaths.of(call.paths, request), sent_file(request.get("file"))
    with Claims(app, call.deadline).held(token_of(request), "nothing was sent, trigger a new run"):
        make_directories(app)
        with contextlib.suppress(AgentError):
            received(call, app, file)
            return {"needed": False}
        if request.get("optional") is not True:
            # What it says is no answer.
            with contextlib.redirect_stdout(sys.stderr):
                make_room(app, file["size"])
        check_room(app, file["size"])
    return {"needed": True}


def make_directories(app: AppPaths) -> None:
    """Make the directories of an app's files in transit, which only root may read.

    Whoever may read something else of the app's finds it by its name: nobody can list what there is.
    """
    app.root.mkdir(parents=True, exist_ok=True)
    app.root.chmod(0o711)
    for directory in (app.incoming, app.outgoing):
        directory.mkdir(mode=0o700, exist_ok=True)


def sent_file(value: object) -> SentFile:
    """Return what a request says of a file that was, or will be, sent.

    :raises AgentError: with the code ``bad_request``.
    """
    if not isinstance(value, dict):
        raise AgentError(Code.BAD_REQUEST, f"{value!r:.60} names no file")
    return {
        "name": text(value, "name", NAME),
        "sha256": text(value, "sha256", DIGEST),
        "size": int(number(value, "size", 0, LARGEST)),
    }


def received(call: Call, app: AppPaths, file: SentFile) -> Path:
    """Return the path of a file that was sent, once every byte of it is known to be right.

    :raises AgentError: with the code ``failed`` if it is not there or is another one.
    """
    path, name = app.incoming / file["name"], file["name"]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AgentError(
            Code.FAILED, f"{name} did not arrive on this droplet; run the deploy again"
        ) from None
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size != file["size"]:
            raise AgentError(Code.FAILED, f"{name} has {about.st_size} bytes instead of {file['size']}")
        found = hashlib.sha256()
        while part := opened.read(CHUNK):
            found.update(part)
            call.deadline.left()
    if found.hexdigest() != file["sha256"]:
        raise AgentError(Code.FAILED, f"{name} is not as it was sent: its SHA-256 is {found.hexdigest()}")
    return path
