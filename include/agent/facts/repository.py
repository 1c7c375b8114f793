"""The app's repository, as the fetching user reaches it from this machine."""

from __future__ import annotations

import os
import subprocess

from agent.facts.bounded import run
from agent.facts.users import as_user, environment_of
from agent.protocol import Json
from agent.system import CallDeadline

LONGEST_LINE = 300


class Git:
    """Git, run as the fetching user."""

    def __init__(self, deadline: CallDeadline, user: str) -> None:
        self.deadline = deadline
        self.command = (*as_user(user), "git")
        self.environment = {
            **environment_of(user),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            # ssh would write down other keys of a server that it knows.
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o UpdateHostKeys=no",
        }

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Run it to its end; see :func:`agent.facts.bounded.run`."""
        return run(self.deadline, *self.command, *arguments, env=self.environment)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it, to read what it writes meanwhile."""
        command, pipe = (*self.command, *arguments), subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=self.environment
        )

    @staticmethod
    def fatal(process: subprocess.Popen[bytes]) -> str:
        """Return the last line that a process that has ended has written to standard error."""
        assert process.stderr is not None  # noqa: S101
        with process.stderr as pipe:
            said = os.read(pipe.fileno(), 65536).decode(errors="replace").strip().splitlines()
        return said[-1][:LONGEST_LINE] if said else ""


def remote(git: Git, request: Json) -> Json:
    """Return what the repository lists for this machine; nothing is fetched."""
    status, output = git("ls-remote", "--", request["repository"], *request["patterns"])
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        fatal = [line for line in said if line.startswith("fatal:")]
        return {"error": (fatal or said[-1:] or ["no reason given"])[0][:LONGEST_LINE], "refs": {}}
    rows = [line.split("\t", 1) for line in output.splitlines() if "\t" in line]
    return {"error": None, "refs": {name: revision for revision, name in rows}}
