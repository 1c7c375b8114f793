"""Whether the ledger is still what was written: each line has the digest of the line before."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.protocol import AgentError, Json
from agent.proxy.ledger import LEDGER_LIMIT, LINE_LIMIT, PREVIOUS, Ledger
from agent.proxy.messages import LedgerChain
from agent.system import CallDeadline, digest

# Runs whose records are compared with those of the other proxies.
RECENT = 20
# Digests that others may have seen as the last one, and characters of each: 64 bits, which nobody meets.
DIGESTS, DIGEST_LENGTH = 4000, 16
# Problems that are reported, and characters of a run's name.
MOST_PROBLEMS, LONGEST_NAME = 5, 200
# What is named where the records of a run differ.
COMPARED = ("subject", "revision", "release", "triggered_by", "approved_by", "outcome", "ended")


def chain(ledger: Ledger, deadline: CallDeadline) -> LedgerChain:
    """Examine a ledger, which only whoever is root here can have changed; nothing is changed.

    A half line at the end is what a killed call has left, and no problem.

    :param deadline: of the call; a ledger that takes longer was not examined.
    """
    try:
        return _chain(ledger, deadline)
    except OSError as error:
        unread = f"{type(error).__name__}: {error}"
    except AgentError as error:
        unread = str(error)
    return {"lines": 0, "unread": unread, "problems": [], "digests": [], "recent": []}


def _chain(ledger: Ledger, deadline: CallDeadline) -> LedgerChain:
    found = _Chain()
    for line in _lines(ledger.path, deadline):
        found.follow(line)
    problems, digests = found.problems, found.digests
    if found.link is not None:
        older = _Chain()
        for line in _lines(ledger.before, deadline):
            older.follow(line)
        if found.digests[0] not in older.index:
            problems = [f"what was before {found.first} is gone", *problems]
        problems, digests = [*older.problems, *problems], [*older.digests, *digests]
    return {
        "lines": len(found.digests),
        "unread": None,
        "problems": problems[:MOST_PROBLEMS],
        "digests": [one[:DIGEST_LENGTH] for one in digests[-DIGESTS:]],
        "recent": [_short(record) for record in found.recent],
    }


class _Chain:
    """The lines of one file, followed from its beginning.

    :ivar link: the digest of the line before the first one; None if that is the first of all.
    :ivar first: the first line, for people.
    """

    def __init__(self) -> None:
        self.link: str | None = None
        self.first = ""
        self.digests: list[str] = []
        self.index: dict[str, int] = {}
        self.problems: list[str] = []
        self.recent: deque[Json] = deque(maxlen=RECENT)
        self._name = ""

    def follow(self, line: bytes) -> None:
        record = _record(line)
        name = _name(record) if record else f"line {len(self.digests) + 1}"
        if record is None:
            self.problems.append(f"{name} is no record")
        elif not self.digests:
            self.link, self.first = record.get(PREVIOUS), name
        elif problem := self._problem(record, name):
            self.problems.append(problem)
        if record:
            self.recent.append(record)
        self._name, last = name, digest(line)
        self.index[last] = len(self.digests)
        self.digests.append(last)

    def _problem(self, record: Json, name: str) -> str | None:
        """Return why a line does not follow the last one, if it does not.

        A line without a link is of an agent that knew no chain: an older version's, which an installation may
        have gone back to. Whoever could insert one could insert one with a link as well: it is the next line
        that names what was there.
        """
        if PREVIOUS not in record:
            return None
        link = record[PREVIOUS]
        if link == self.digests[-1]:
            return None
        if link in self.index:
            return f"something was inserted before {name}, the last of it {self._name}"
        return f"{self._name} was changed, or something was removed between it and {name}"


def _lines(path: Path, deadline: CallDeadline) -> Iterator[bytes]:
    """The whole lines of a file, up to twice the size that the agent lets it have.

    :raises AgentError: with the code ``too_slow``.
    """
    if not path.exists():
        return
    left = 2 * LEDGER_LIMIT
    with path.open("rb") as file:
        while left > 0 and (line := file.readline(LINE_LIMIT)):
            deadline.left()
            left -= len(line)
            if line.endswith(b"\n"):
                yield line[:-1]
            elif len(line) == LINE_LIMIT:
                # A part of a line that is longer than any record.
                yield line


def _record(line: bytes) -> Json | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _name(record: Json) -> str:
    """Which run a record is of, for people."""
    attempt = record.get("attempt")
    again = f" (attempt {attempt})" if attempt else ""
    return " ".join(f"{record.get('dag_id')}/{record.get('run_id')}{again}"[:LONGEST_NAME].split())


def _short(record: Json) -> Json:
    """What is compared with the ledgers of other proxies."""
    texts = {key: _text(record[key]) for key in COMPARED if key in record}
    heads = record.get("ledgers")
    seen = {_text(name): _text(head) for name, head in heads.items()} if isinstance(heads, dict) else {}
    return {
        **texts,
        "run": _name(record),
        "presumed": "found_by" in record,
        "ledgers": seen,
        "digest": _digest_of(record),
    }


def _digest_of(record: Json) -> str:
    """Return the digest of all that a run has sent to every proxy: a record without its link."""
    sent = {key: value for key, value in record.items() if key != PREVIOUS}
    try:
        return digest(json.dumps(sent, sort_keys=True).encode())[:DIGEST_LENGTH]
    except RecursionError:
        # No run has sent this.
        return ""


def _text(value: Any) -> str:
    return str(value)[:LONGEST_NAME]
