"""Text of the code as Markdown."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Return text whose characters mean themselves, except for code in backticks."""
    return "".join(part if part.startswith("`") else _plain(part) for part in re.split(r"(`[^`]*`)", text))


def _plain(text: str) -> str:
    return re.sub(r"([*_\[\]|])", r"\\\1", text).replace("<", "&lt;")


def code(text: str) -> str:
    """Return text as code in a cell of a table, on one line."""
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"
