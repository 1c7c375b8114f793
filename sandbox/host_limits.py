"""Kernel limits that this machine must have so that droplets boot."""

from __future__ import annotations

import contextlib
from pathlib import Path

# The kernel allows a user 128. A machine's systemd, logind, D-Bus and getty take eight, all of them as this
# machine's root (counted in /proc/*/fd), so that the seventeenth machine does not finish booting.
INOTIFY_INSTANCES = 1024
_MAX_USER_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def allow_many_machines(limit: Path = _MAX_USER_INSTANCES) -> None:
    """Raise the number of inotify instances that root may have; it is never lowered.

    In a container that may not change it, it stays as it is.

    :param limit: the kernel's file.
    """
    with contextlib.suppress(OSError):
        if int(limit.read_text()) < INOTIFY_INSTANCES:
            limit.write_text(f"{INOTIFY_INSTANCES}\n")
