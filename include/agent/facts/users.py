"""Doing something as another user."""

from __future__ import annotations

import os
import pwd


def has_user(name: str) -> bool:
    """Return whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def as_user(user: str) -> tuple[str, ...]:
    """Return the words that run a command as a user; it ends with its parent process."""
    group = pwd.getpwnam(user).pw_gid
    rights = (f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs")
    return ("setpriv", *rights, "--pdeathsig=KILL")


def environment_of(user: str) -> dict[str, str]:
    """Return a user's plain environment."""
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
