"""How every run has ended."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from agent.protocol import AgentError, Code, Json
from agent.system import digest, write_atomically

# Bytes at the end of the ledger that are looked at: hundreds of runs, and so any that is reported twice.
LEDGER_TAIL = 1 << 20
# Bytes of the ledger until a new file is begun, and bytes of a record.
LEDGER_LIMIT, LINE_LIMIT = 1 << 24, 1 << 16
# The key of a line's link to the line before: that one's SHA-256, None in the first line of all.
PREVIOUS = "previous_sha256"


class Ledger:
    """How every run has ended, a line each, and each line has the digest of the line before.

    Records are known by their runs. The chain is this proxy's own: a run that did not reach it is no gap.
    :mod:`agent.proxy.ledger_chain` examines it.

    A file that has become large is kept as ``.1``, in place of an older one, and the new file begins with its
    last lines: tens of thousands of runs are kept, and a reader of the last hundreds notices nothing. Its
    first line then names the digest of a line that only ``.1`` has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = path.with_name(f"{path.name}.1")

    def records(self) -> list[Json]:
        """The last hundreds, oldest first."""
        found = []
        for line in self._tail(LEDGER_TAIL).split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]

    def head(self) -> str | None:
        """Return the SHA-256 of the last whole line; None if there is none.

        Whoever keeps it elsewhere can prove later that the ledger up to here is still the same.
        """
        last = self._tail(2 * LINE_LIMIT).rpartition(b"\n")[0].rpartition(b"\n")[2]
        return digest(last) if last else None

    def append(self, record: Json) -> bool:
        """False if that run has its line already; a run that was cleared and ran again is another."""
        if any(self._key(record) == self._key(known) for known in self.records()):
            return False
        line = json.dumps({**record, PREVIOUS: self.head()}).encode() + b"\n"
        if len(line) > LINE_LIMIT:
            raise AgentError(
                Code.BAD_REQUEST, f"a record of {len(line)} bytes is too long; it was not written"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LEDGER_LIMIT:
            self._begin_anew()
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            # What a killed call has left of a line goes.
            half = self._tail(LEDGER_TAIL).rpartition(b"\n")[2]
            file.truncate(file.seek(0, os.SEEK_END) - len(half))
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return True

    def _begin_anew(self) -> None:
        """Killed anywhere, it leaves the large file or the new one in place; both have the last lines."""
        name = self.path.with_name(f".{self.path.name}.1")
        name.unlink(missing_ok=True)
        os.link(self.path, name)
        name.replace(self.before)
        # The first line of the tail may be the end of a longer one.
        write_atomically(self.path, self._tail(LEDGER_TAIL).partition(b"\n")[2])

    @staticmethod
    def _key(record: Json) -> tuple[Any, ...]:
        return tuple(record.get(key) for key in ("dag_id", "run_id", "attempt"))

    def _tail(self, most: int) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read(most)
