"""Asking a forge: again for a while if it is in trouble, once if it refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from bluegreen.errors import RefError
from bluegreen.source.git import LARGEST_FILE, Answer, GitTimeoutError

# Seconds, longer than a restart or a failover of a forge takes; failing at once helps nobody.
PATIENCE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0

# Errors after which asking again changes nothing: the forge has answered, or this machine cannot ask.
_REFUSALS = (
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled|Permission denied"
    r"|Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|returned error: "
    r"4(0[0-79]|1[0-9]|2[0-8]|[3-9][0-9])"
    r"|[Rr]epository .*not found|does not appear to be a git repository|not exported|Access denied"
    r"|certificate|transport '.*' not allowed|couldn't find remote ref|unadvertised object|not our ref"
    r"|No space left|Disk quota exceeded|Read-only file system|is not installed|dubious ownership"
    r"|File too large|ssh: .*[Nn]ot found|\] Object does not exist|expected OID"
)

# Errors that show that the mirror's own files were damaged.
_DAMAGE = re.compile(
    r"bad object|corrupt|not a git repository: |missing (blob|tree|commit|necessary objects)|unable to read"
    r"|loose object|packfile|pack-.*idx|invalid sha1 pointer|invalid object|cannot lock ref"
    r"|\.lock'?: File exists|bad (config|revision|ref)|did not send all necessary objects|broken"
    r"|unable to unpack|sha1 mismatch"
)


class ForgeError(RefError):
    """The repository cannot be read: it refuses, or it failed for too long."""


class DamagedError(Exception):
    """The mirror is damaged, and has to be fetched again."""


def ask(question: Callable[[], Answer], repository: str) -> Answer:
    """Ask a repository until it answers, refuses, or has failed for :data:`PATIENCE_SECONDS`.

    :param question: runs git.
    :param repository: for the message.
    :raises ForgeError: with its last error.
    :raises DamagedError: if git failed because of the mirror.
    """
    pause, failing_since = FIRST_PAUSE, None
    while True:
        try:
            answer = question()
        except GitTimeoutError as error:
            complaint = str(error)
        else:
            if answer.status == 0:
                return answer
            if re.search(_REFUSALS, answer.stderr):
                raise ForgeError(f"cannot read {repository}: {_clear(answer)}")
            if _DAMAGE.search(answer.stderr):
                raise DamagedError(answer.complaint)
            complaint = answer.complaint
        # Count from the first failure: the first fetch of a large repository may take longer than that.
        failing_since = failing_since or time.monotonic()
        waited = time.monotonic() - failing_since
        if waited + pause > PATIENCE_SECONDS:
            raise ForgeError(
                f"{repository} has been failing for {waited:.0f} s; its last error: {complaint}; "
                "trigger a new run when it answers again"
            )
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _clear(answer: Answer) -> str:
    """Return a forge's error, with the cause where git's message hides it."""
    if "File too large" in answer.stderr:
        return f"it sends a file larger than {LARGEST_FILE // 2**20} MB"
    if re.search("could not read (Username|Password)|terminal prompts disabled", answer.stderr):
        return "it asks for a login (401); connections.repository names the Airflow connection that has one"
    if "failed to fetch some objects" in answer.stderr:
        # The cause is in the lines before; git-lfs has one for each file.
        return answer.stderr.strip().splitlines()[0]
    if "Authentication failed" in answer.stderr:
        return "it refuses the login (401); is the token of connections.repository still valid?"
    if re.search("Host key verification failed|HOST IDENTIFICATION HAS CHANGED", answer.stderr):
        return (
            "its SSH host key is not the known one, or none is known; known_hosts in the Airflow connection "
            "of connections.repository names it"
        )
    return answer.complaint
