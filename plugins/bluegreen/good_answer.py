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
