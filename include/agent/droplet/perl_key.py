"""The perl of a droplet: what compiled modules depend on, and whether it is root's alone to change."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

from agent.protocol import AgentError, Code

# Runs as nobody, who has no files, where no directory of a repository is searched for modules.
USER = "nobody"
RUN_SECONDS = 15.0
_PROGRAM = r'print "$Config{version} $Config{archname}\n"'
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
# Characters of a name; no perl's is nearly as long.
_LONGEST = 200
# Links on the way to a program.
_MOST_LINKS = 40


def perl_key(perl: str) -> str:
    """Return a perl's version and architecture, and the version of the C library on a line below.

    Modules that are compiled fit one perl, one architecture and one C library.

    :param perl: its path.
    :return: for example ``5.36.0 x86_64-linux-gnu-thread-multi`` and ``glibc 2.36``; empty if it does not
        run, or if somebody else than root may change it.
    """
    if changeable_part(perl) is not None:
        return ""
    # A process of root's becomes nobody; another one stays what it is.
    rights = {"user": USER, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []}
    try:
        done = subprocess.run(
            [perl, "-MConfig", "-e", _PROGRAM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_SECONDS,
            env=_ENVIRONMENT,
            cwd="/",
            check=False,
            **(rights if os.geteuid() == 0 else {}),  # type: ignore[call-overload]
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    name, libc = done.stdout.decode(errors="replace").strip(), os.confstr("CS_GNU_LIBC_VERSION") or ""
    if done.returncode != 0 or not name or not name.isprintable() or len(name) > _LONGEST or not libc:
        return ""
    return f"{name}\n{libc}"


def shown_key(key: str) -> str:
    """Return a perl's name as people read it, in one line."""
    return f"perl {', '.join(key.split(chr(10)))}" if key else "no perl"


def require_roots(perl: str) -> None:
    """Make sure that nobody but root may change a perl: whoever can would run as the user of every app.

    :raises AgentError: with the code ``failed``, also if it is not there.
    """
    part = changeable_part(perl)
    if part is not None:
        raise AgentError(
            Code.FAILED, f"{perl} is not used: others than root may change {part} on this droplet"
        )
    if not os.access(perl, os.X_OK):
        raise AgentError(Code.FAILED, f"{perl} is not installed on this droplet")


def changeable_part(program: str) -> str | None:
    """Return the first part of a program's path that others than root may change; None if there is none.

    Links are followed. A program that is not there cannot be changed.
    """
    at, ahead, links = Path("/"), list(Path(program).parts[1:]), 0
    while ahead:
        name = ahead.pop(0)
        if name == "..":
            at = at.parent
            continue
        here = at / name
        try:
            about = here.lstat()
        except OSError:
            return None
        if about.st_uid not in (0, os.geteuid()):
            return str(here)
        if stat.S_ISLNK(about.st_mode):
            links += 1
            if links > _MOST_LINKS:
                return str(here)
            target = Path(os.readlink(here))  # noqa: PTH115
            at = Path("/") if target.is_absolute() else at
            ahead = [*target.parts[1 if target.is_absolute() else 0 :], *ahead]
            continue
        # Root's group has no other members.
        if about.st_mode & stat.S_IWOTH or (about.st_mode & stat.S_IWGRP and about.st_gid != 0):
            return str(here)
        at = here
    return None
