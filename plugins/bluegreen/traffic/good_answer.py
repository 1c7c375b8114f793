"""The definition of a good answer of an app, shared by everything that requests one."""

from __future__ import annotations

from collections.abc import Sequence


def is_good(status: int | None, statuses: Sequence[int] = ()) -> bool:
    """Whether an answer is good. A redirect is not: it proves nothing about its target.

    :param status: the answer's HTTP status; ``None`` if there was no answer.
    :param statuses: the statuses in the settings for this path; 200 to 299 if empty.
    """
    if status is None:
        return False
    return status in statuses if statuses else 200 <= status <= 299


def allowed(statuses: Sequence[int] = ()) -> str:
    """Describe the good statuses: ``200 to 299`` or ``302, 401``."""
    return ", ".join(map(str, statuses)) or "200 to 299"


def advice(status: int | None) -> str:
    """Return a clause on settings that may be wrong rather than the app; empty if none is."""
    if status is None or status >= 500:
        return ""
    return "; set traffic.public_url to how clients ask, or validation.statuses to what is good there"


def one_line(text: str, length: int = 120) -> str:
    """Return words of an app for use in a message: printable, on one line, and short."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"
