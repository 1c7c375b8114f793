"""Who is live: the content of ``traffic.map``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.protocol import COLORS, NOTHING


@dataclass(frozen=True)
class TrafficMap:
    """Who is live: the content of traffic.map, and of HAProxy's copy of it."""

    live: str
    idle: str
    idle_share: int = 0

    @classmethod
    def parse(cls, text: str) -> TrafficMap | None:
        """None unless the text is one complete map."""
        rows = [line.split() for line in text.splitlines() if line.strip()]
        found = {row[0]: row[1] for row in rows if len(row) == 2}
        live, idle, share = (found.get(key, "") for key in ("live", "idle", "idle_share"))
        if len(rows) != 3 or not re.fullmatch("[0-9]{1,2}|100", share):
            return None
        sensible = live in (*COLORS, NOTHING) and idle in COLORS and live != idle
        return cls(live, idle, int(share)) if sensible else None

    @classmethod
    def to(cls, color: str) -> TrafficMap:
        """With a color live, and the other one idle."""
        return cls(color, COLORS[1 - COLORS.index(color)])

    @classmethod
    def back(cls, color: str, origin: str | None) -> TrafficMap:
        """As it was before a switch to a color; before the first one nothing was live."""
        return cls.to(origin) if origin else cls(NOTHING, color)

    @property
    def live_color(self) -> str | None:
        """The live color; None if nothing is live."""
        return self.live if self.live in COLORS else None

    def __str__(self) -> str:
        return f"live {self.live}\nidle {self.idle}\nidle_share {self.idle_share}\n"
