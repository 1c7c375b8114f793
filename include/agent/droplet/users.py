"""The users of an app on a droplet: one runs it, and one builds it; neither can read another app's files."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.protocol import AgentError, Code
from agent.system import output_of

# Seconds; useradd waits for nobody.
USERADD_SECONDS = 30.0
NO_LOGIN = ("--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin")
# The service's own directory: the mode counts whenever systemd starts something that has it.
STATE_MODE = "StateDirectoryMode=0700"


def require_user(name: str) -> None:
    """Make sure that a user exists.

    :raises AgentError: with the code ``failed``.
    """
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise AgentError(Code.FAILED, f"the user {name} does not exist on this droplet") from None


def make_build_user(name: str) -> None:
    """Make the user that builds an app, unless it exists: a droplet may be older than the app's name for it.

    :raises AgentError: with the code ``failed`` and the reason of ``useradd``.
    """
    try:
        require_user(name)
    except AgentError:
        command = ("useradd", "--system", "--user-group", *NO_LOGIN, "--", name)
        status, output = output_of(command, USERADD_SECONDS)
        if status != 0:
            said = output.strip().splitlines() or ["no reason given"]
            raise AgentError(Code.FAILED, f"cannot make the user {name}: {said[-1][:200]}") from None


def group_of(app: AppPaths) -> int:
    """Return the group of the user that runs an app.

    :raises AgentError: with the code ``failed`` if there is none.
    """
    try:
        return grp.getgrnam(app.name).gr_gid
    except KeyError:
        raise AgentError(Code.FAILED, f"the group {app.name} does not exist on this droplet") from None


def let_in(directory: Path, group: int) -> None:
    """Make a directory of root's that one group may read; what is below has modes of its own."""
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, -1, group)
    directory.chmod(0o750)
