"""What a job wrote since a position: a bounded part of it, and nothing of the app's environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MOST_BYTES, LONGEST_LINE = 1 << 18, 2000
# How the last line of a job begins that has failed. A value of the environment may be the same word.
CAUSE_MARK = "bluegreen: "

Hide = Callable[[str], str]


def lines_after(path: Path, position: int, *, goes_on: bool, hide: Hide) -> tuple[list[str], int, bool]:
    """Return lines, the next position, and whether there is more already.

    :param goes_on: whether the job does; then only whole lines are returned.
    :param hide: what a line passes through before it leaves the droplet.
    """
    try:
        with path.open("rb") as log:
            # What begins in the middle of a line is the rest of one that was too long.
            log.seek(max(0, position - 1))
            skipping = position > 0 and log.read(1) != b"\n"
            part = log.read(MOST_BYTES)
    except FileNotFoundError:
        return [], position, False
    more = len(part) == MOST_BYTES
    end = part.rfind(b"\n") + 1 or (len(part) if more else 0)
    if not more and not goes_on:
        end = len(part)
    lines = part[:end].splitlines()[1 if skipping else 0 :]
    return [_shown(line, hide) for line in lines], position + end, more


def _shown(line: bytes, hide: Hide) -> str:
    text = masked(line.decode(errors="replace").replace("\0", ""), hide)
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} … ({len(text)} characters)"


def say(line: str) -> None:
    """Write a line into the log of the job that this process is, at once."""
    print(line, flush=True)


def masked(line: str, hide: Hide) -> str:
    """Return a line without the environment's values, and with the mark of a cause as it is."""
    whole = hide(line)
    if not line.startswith(CAUSE_MARK) or whole.startswith(CAUSE_MARK):
        return whole
    rest = hide(line[len(CAUSE_MARK) :])
    # A value may go beyond the mark.
    return CAUSE_MARK + (rest if whole.endswith(rest) else whole)
