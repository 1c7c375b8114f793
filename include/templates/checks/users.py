"""Doing something as another user.

Standard library only, Python 3.8 or later.
"""

import os
import pwd


def has_user(name):
    """Whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def as_user(user):
    """Return the words that run a command as a user, and no longer than whoever runs it."""
    group = pwd.getpwnam(user).pw_gid
    rights = (f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs")
    return ("setpriv", *rights, "--pdeathsig=KILL")


def environment_of(user):
    """Return a user's plain environment."""
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
