"""The README is short, and its commands are those that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sandbox.chaos import bad_releases, cells

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A command in backticks, or at the start of a line of code; prose has the verb *make*, too.
COMMAND = re.compile(r"(?:`|^)(?:KEEP=1 )?make ([a-z-]+)(?=`|$| {2}| ARGS| #| &&)", re.MULTILINE)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 120


def test_the_readme_gives_the_commands_that_ci_runs() -> None:
    ci = re.findall(r"^make \w+", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert ci == ["make lint", "make test"]
    assert set(ci) <= set(re.findall(r"^make \w+", README, re.MULTILINE))


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "include" / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(COMMAND, page.read_text(encoding="utf-8"))}
    assert {"demo", "docs", "chaos"} <= named
    assert named - targets == set()


def test_the_readme_counts_what_chaos_does() -> None:
    assert f"{len(cells.CELLS)} cells, and {len(bad_releases.CELLS)} bad releases" in README
    security = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"deploys {len(bad_releases.CELLS)} releases that try" in security
