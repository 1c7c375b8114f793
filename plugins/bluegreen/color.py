"""The two sets of droplets that traffic moves between."""

from __future__ import annotations

from enum import StrEnum


class Color(StrEnum):
    """One of the two colors; only the proxies know which one is live."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Color:
        """The color that is idle when this one is live."""
        return Color.GREEN if self is Color.BLUE else Color.BLUE
