#!/usr/bin/env python3
"""Write what is made from the code, for `make docs`: pages of the documentation, the reference app file."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "include")]

from scripts.reference import agent, example, messages, settings  # noqa: E402

PAGES = {"settings.md": settings.page, "messages.md": messages.page, "agent.md": agent.page}


def main() -> None:
    """Write the app file, and each page to docs/reference/."""
    (ROOT / settings.REFERENCE).write_text(example.example(), encoding="utf-8")
    for name, page in PAGES.items():
        (ROOT / "docs" / "reference" / name).write_text(page(ROOT), encoding="utf-8")


if __name__ == "__main__":
    main()
