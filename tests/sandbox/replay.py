"""What the ledger tells about traffic, to compare with where it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bluegreen.color import Color
from bluegreen.run.ledger import Record


@dataclass(frozen=True)
class State:
    """Who is live; ``revision`` is ``None`` if nothing is, or if no confirmed switch tells."""

    live: Color | None = None
    revision: str | None = None


def replay(records: Iterable[Record]) -> State:
    """Tell who is live after these runs, the oldest first; the last one that knew decides."""
    state = State()
    for record in records:
        if record.live_known:
            known = record.live_revision
            if known is None and record.live is state.live:
                known = state.revision
            state = State(live=record.live, revision=known)
    return state
