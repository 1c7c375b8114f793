"""HAProxy's processes, as its master lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Processes:
    """HAProxy's processes as its master lists them; ``old`` are workers that a reload has replaced."""

    master: int
    reloads: int
    failed: int
    workers: tuple[int, ...]
    old: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Processes | None:
        """Read ``show proc`` by the names of its columns: 2.4 has one more than later versions.

        A reload that fails counts too, but replaces no worker; from 2.6 on ``[failed: N]`` counts those.
        """
        names: list[str] = []
        failed, masters, workers = 0, [], []
        for line in text.splitlines():
            if line.startswith("#<"):
                names = re.findall(r"<([^>]+)>", line)
                continue
            failures = re.search(r"\[failed: (\d+)\]", line)
            values = re.findall(r"\[[^\]]*\]|\S+", line.replace(failures[0], "") if failures else line)
            row = dict(zip(names, values))
            if not row.get("PID", "").isdigit() or not row.get("reloads", "").isdigit():
                continue
            process = int(row["PID"]), int(row["reloads"])
            if row.get("type") == "master":
                masters.append(process)
                failed = int(failures[1]) if failures else 0
            elif row.get("type") == "worker":
                workers.append(process)
        if len(masters) != 1:
            return None
        newest = failed if "[failed: " in text else min((reloads for _, reloads in workers), default=0)
        current = tuple(pid for pid, reloads in workers if reloads == newest)
        old = tuple(pid for pid, reloads in workers if reloads != newest)
        return cls(*masters[0], failed, current, old)
