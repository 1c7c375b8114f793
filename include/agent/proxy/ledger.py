"""How every run has ended."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from agent.protocol import AgentError, Code, Json
from agent.system import write_atomically

# Bytes at the end of the ledger that are looked at: hundreds of runs, and so any that is reported twice.
LEDGER_TAIL = 1 << 20
# Bytes of the ledger until a new file is begun.
LEDGER_LIMIT = 1 << 24


class Ledger:
    """How every run has ended, a line each.

    A file that has become large is kept as ``.1``, in place of an older one, and the new file begins with its
    last lines: tens of thousands of runs are kept, and a reader of the last hundreds notices nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[Json]:
        """The last hundreds, oldest first."""
        found = []
        for line in self._tail().split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]

    def append(self, record: Json) -> bool:
        """False if that run has its line already; a run that was cleared and ran again is another."""
        line = json.dumps(record).encode() + b"\n"
        if len(line) > LEDGER_TAIL // 16:
            raise AgentError(
                Code.BAD_REQUEST, f"a record of {len(line)} bytes is too long; it was not written"
            )
        if any(self._key(record) == self._key(known) for known in self.records()):
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LEDGER_LIMIT:
            self._begin_anew()
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            # What a killed call has left of a line goes.
            file.truncate(file.seek(0, os.SEEK_END) - len(self._tail().rpartition(b"\n")[2]))
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return True

    def _begin_anew(self) -> None:
        """Killed anywhere, it leaves the large file or the new one in place; both have the last lines."""
        before, name = self.path.with_name(f"{self.path.name}.1"), self.path.with_name(f".{self.path.name}.1")
        name.unlink(missing_ok=True)
        os.link(self.path, name)
        name.replace(before)
        # The first line of the tail may be the end of a longer one.
        write_atomically(self.path, self._tail().partition(b"\n")[2])

    @staticmethod
    def _key(record: Json) -> tuple[Any, ...]:
        return tuple(record.get(key) for key in ("dag_id", "run_id", "attempt"))

    def _tail(self) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LEDGER_TAIL))
            return file.read()
