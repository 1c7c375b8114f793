"""Strangers' words on the page."""

from __future__ import annotations

from bluegreen.traffic.good_answer import one_line

LONGEST_LINE = 160


def line(text: object, length: int = LONGEST_LINE) -> str:
    """Return a stranger's text as one printable line; anything but text is empty."""
    return one_line(" ".join(text[: 4 * length].split()), length) if isinstance(text, str) else ""
