"""Room on a droplet's disk, and the part of it that root reserves: an app that fills the disk leaves that.

The reserve is a directory with one large file and many empty ones: file systems run out of either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.protocol import AgentError, Code
from agent.system import remove_tree

# Megabytes, and files, that have to be free before anything is written, and those of the reserve.
MIN_FREE_MB, RESERVE_MB = 100, 200
MIN_FREE_INODES, RESERVE_INODES = 2_500, 20_000
# Some file systems do not count files.
_UNCOUNTED = 1_000_000_000


def check_room(app: AppPaths, sent: int = 0) -> None:
    """Make sure that there is room for a release.

    :param sent: bytes of a file that is to be sent to the droplet before.
    :raises AgentError: with the code ``failed``.
    """
    free, inodes, needed = free_mb(app.root), free_inodes(app.root), MIN_FREE_MB + (sent >> 20)
    if free < needed:
        why = f"{free} MB are free, {needed} MB are needed"
    elif inodes < MIN_FREE_INODES:
        why = f"it has room for {inodes} more files, {MIN_FREE_INODES} are needed"
    else:
        return
    raise AgentError(Code.FAILED, f"{no_space(app)}: {why}")


def make_room(app: AppPaths, sent: int = 0) -> None:
    """Use the reserve if there is too little room without it; the caller holds the claims.

    The app is stopped first, because it would fill the reserve, too; only idle droplets are deployed to.

    :param sent: bytes of a file that is to be sent to the droplet before.
    """
    needed = MIN_FREE_MB + (sent >> 20)
    reserve, old = app.root / "reserve", app.root / "reserve.old"
    for path in (old, app.root / "reserve.new"):
        remove_tree(path)
    if not reserve.exists() or (free_mb(app.root) >= needed and free_inodes(app.root) >= MIN_FREE_INODES):
        return
    print(
        f"the disk is full, so {app.service} is stopped, and the {RESERVE_MB} MB and {RESERVE_INODES} files "
        "are used that are kept for this",
        flush=True,
    )
    subprocess.run(["systemctl", "stop", app.service], stdin=subprocess.DEVNULL, check=False)
    # Renamed first: half of it is no room to rely on.
    reserve.rename(old)
    remove_tree(old)


def keep_room(app: AppPaths) -> None:
    """Make the reserve if there is none, and room for it; without that nothing happens."""
    reserve, new = app.root / "reserve", app.root / "reserve.new"
    with contextlib.suppress(OSError):
        is_short = free_mb(app.root) < 2 * RESERVE_MB or free_inodes(app.root) < 2 * RESERVE_INODES
        if reserve.exists() or is_short:
            return
        try:
            new.mkdir(0o700)
            with (new / "room").open("xb") as room:
                os.posix_fallocate(room.fileno(), 0, RESERVE_MB << 20)
            for number in range(RESERVE_INODES):
                os.close(os.open(new / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            new.rename(reserve)
        except OSError:
            remove_tree(new)


def is_full(directory: Path, output: str = "") -> bool:
    """Whether something failed because the disk is full; some programs do not name that as their reason.

    :param output: what the program wrote.
    """
    return os.strerror(errno.ENOSPC) in output or free_mb(directory) < 1 or free_inodes(directory) < 1


def no_space(app: AppPaths) -> str:
    """Return how a full disk is named."""
    return f"No space left on the disk of {app.root}"


def free_mb(directory: Path) -> int:
    """Return how many megabytes of a directory's disk anybody may still fill."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize >> 20


def free_inodes(directory: Path) -> int:
    """Return how many more files can be made on a directory's disk."""
    disk = os.statvfs(directory)
    return disk.f_favail if disk.f_files else _UNCOUNTED
