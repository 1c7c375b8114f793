"""Running git where Airflow runs its tasks: without prompts, bounded in time and output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bluegreen.errors import RefError
from bluegreen.source.access import OWN_CONFIGURATION, Access

ALLOWED_PROTOCOLS = "http:https:ssh"

# The largest file that git may write: a pack with all commits and trees of a repository. Linux's has 2 GB.
LARGEST_FILE = 4 * 2**30
# A listing of 300,000 branches and tags has 20 MB.
LARGEST_ANSWER = 64 * 2**20
LARGEST_COMPLAINT = 64 * 2**10
# Memory of one git command in bytes, packs that it maps not counted: by export-subst (`$Format:%B$`) a small
# repository can ask for any amount.
LARGEST_MEMORY = 2 * 2**30

# Variables that point git to another repository; the mirror must not inherit them.
_NOT_INHERITED = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_REPLACE_REF_BASE",
    "GIT_TEMPLATE_DIR",
)
# Variables that make git print what it sends, credentials among it.
_TRACES = ("GIT_TRACE", "GIT_CURL_VERBOSE")

# ssh notices a dead connection by these options; the mirror's configuration has the limits for http.
SSH_OPTIONS = "-o ConnectTimeout=15 -o ServerAliveInterval=10 -o ServerAliveCountMax=2"
_SSH = f"ssh -o BatchMode=yes {SSH_OPTIONS}"


class GitTimeoutError(RefError):
    """Git did not finish in time, and was ended."""


@dataclass(frozen=True)
class Answer:
    """The result of a git command, without the secrets of its access."""

    status: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The line that explains a failure; after an SSH failure it is ssh's, before git's own."""
        lines = [line for line in self.stderr.strip().splitlines() if line.strip()]
        for before, line in zip(["", *lines], lines, strict=False):
            if line.startswith("fatal:"):
                return before if before and "Could not read from remote repository" in line else line
        return lines[-1] if lines else "no reason"


def run_git(
    *arguments: str,
    timeout: float,
    directory: Path | None = None,
    stdin: str = "",
    held: Sequence[int] = (),
    access: Access = OWN_CONFIGURATION,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """Run git and wait until it ends.

    :param timeout: seconds after which it is killed.
    :param directory: the repository.
    :param stdin: its standard input.
    :param held: file descriptors that it and its children keep open, such as a lock's.
    :param access: the credentials for a forge.
    :param environment: further variables.
    :raises RefError: if git is not installed, or prints more than :data:`LARGEST_ANSWER` bytes.
    :raises GitTimeoutError: after ``timeout`` seconds.
    """
    where = [f"--git-dir={directory}"] if directory else []
    # The limits apply to all children too: file sizes in blocks of 512 bytes, memory in KiB. With the signal
    # ignored, a file that is too large is reported as an error instead of ending the program.
    limited = 'trap "" XFSZ; ulimit -f "$0" 2>/dev/null; ulimit -d "$1" 2>/dev/null; shift; exec git "$@"'
    limits = (str(LARGEST_FILE // 512), str(LARGEST_MEMORY // 2**10))
    command = ["sh", "-c", limited, *limits, *where, *arguments]
    with tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        with subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_environment(), **access.environment, **(environment or {})},
            start_new_session=True,
            pass_fds=held,
        ) as process:
            try:
                stdout, stderr = _read(process, timeout, arguments)
            except BaseException:
                _end(process)
                raise
    if process.returncode == 127 and b"git: not found" in stderr:
        raise RefError("git is not installed where Airflow runs its tasks")
    return Answer(
        process.returncode, stdout.decode(errors="replace"), access.hide(stderr.decode(errors="replace"))
    )


def _environment() -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_TRACES)
    }
    return {
        **inherited,
        # The project reads git's messages, so they must not be translated.
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ALLOWED_PROTOCOLS,
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", _SSH),
        # A replacement that somebody pushes could swap a reviewed file for another one.
        "GIT_NO_REPLACE_OBJECTS": "1",
        # Missing objects are fetched on purpose, or not at all.
        "GIT_NO_LAZY_FETCH": "1",
        # Attributes of this machine must not change what a revision is.
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ADVICE": "0",
    }


def _read(process: subprocess.Popen[bytes], timeout: float, arguments: Sequence[str]) -> tuple[bytes, bytes]:
    """Read both streams to their ends."""
    deadline = time.monotonic() + timeout
    stdout, stderr = bytearray(), bytearray()
    streams: list[tuple[IO[bytes] | None, bytearray]] = [(process.stdout, stdout), (process.stderr, stderr)]
    late = GitTimeoutError(f"git {arguments[0]} did not finish within {timeout:g} s")
    with selectors.DefaultSelector() as selector:
        for stream, read in streams:
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, read)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise late
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 2**16)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.extend(chunk)
            # The end of the output explains a failure.
            del stderr[:-LARGEST_COMPLAINT]
            if len(stdout) > LARGEST_ANSWER:
                raise RefError(f"git {arguments[0]} answers with more than {LARGEST_ANSWER // 2**20} MB")
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    return bytes(stdout), bytes(stderr)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and its children, which run in their own session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
