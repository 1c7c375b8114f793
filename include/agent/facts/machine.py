"""What is asked of every machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.facts.bounded import run, text_of
from agent.protocol import Json
from agent.system import CallDeadline

LARGEST_FILE = 256 << 10
UNIT_PROPERTIES = "ActiveState,UnitFileState,NeedDaemonReload,MainPID,DropInPaths"


def machine(deadline: CallDeadline, request: Json) -> Json:
    """Return room, memory, clock, some files and the state of the unit that the machine is for.

    :param request: ``files``, the paths of files to be read whole, and ``unit``.
    """
    memory = dict(line.split(":", 1) for line in (text_of("/proc/meminfo") or "").splitlines())
    disk = os.statvfs("/opt" if Path("/opt").is_dir() else "/")
    return {
        "uid": os.getuid(),
        "clock": time.time(),
        "disk_free_mb": disk.f_bavail * disk.f_frsize >> 20,
        "inodes_free": disk.f_favail if disk.f_files else None,
        "memory_mb": int(memory["MemTotal"].split()[0]) >> 10,
        "memory_free_mb": int(memory["MemAvailable"].split()[0]) >> 10,
        "files": {path: text_of(path, LARGEST_FILE) for path in request["files"]},
        "unit": unit_state(deadline, request["unit"]),
    }


def unit_state(deadline: CallDeadline, unit: str) -> dict[str, str]:
    """Return a unit's properties in systemd's words."""
    lines = run(deadline, "systemctl", "show", unit, f"--property={UNIT_PROPERTIES}")[1].splitlines()
    return {key: value for key, found, value in (line.partition("=") for line in lines) if found}
