"""What counts as a good answer of an app: asked by everybody who asks one."""

from __future__ import annotations

from collections.abc import Sequence


def is_good(status: int | None, statuses: Sequence[int] = ()) -> bool:
    """Whether an answer is good. A redirect is none: it proves nothing of the page that it leads to.

    :param status: the answer's HTTP status; ``None`` if there was no answer.
    :param statuses: what the settings name for the path that was asked; 200 to 299 if that is nothing.
    """
    if status is None:
        return False
    return status in statuses if statuses else 200 <= status <= 299


def allowed(statuses: Sequence[int] = ()) -> str:
    """Describe the good statuses for people: ``200 to 299`` or ``302, 401``."""
    return ", ".join(map(str, statuses)) or "200 to 299"


def advice(status: int | None) -> str:
    """Say which settings may be wrong rather than the app, as the end of a sentence; empty if none is."""
    if status is None or status >= 500:
        return ""
    return "; set traffic.public_url to how clients ask, or validation.statuses to what is good there"


def one_line(text: str, length: int = 120) -> str:
    """Show what an app said within a message: printable, on one line, and not endless."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"
