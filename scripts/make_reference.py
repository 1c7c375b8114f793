#!/usr/bin/env python3
"""Write the pages of the documentation that are made from the code, for `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "include")]

from scripts.reference import agent, messages, settings  # noqa: E402

PAGES = {"settings.md": settings.page, "messages.md": messages.page, "agent.md": agent.page}


def main() -> None:
    """Write each page to docs/reference/."""
    for name, page in PAGES.items():
        (ROOT / "docs" / "reference" / name).write_text(page(ROOT), encoding="utf-8")


if __name__ == "__main__":
    main()
