"""Links between files lead somewhere, headings included; `make docs` checks those within the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.make_reference import PAGES as PAGES_FROM_CODE

ROOT = Path(__file__).resolve().parents[3]
# Made by `make docs`.
GENERATED = tuple(f"docs/reference/{name}" for name in PAGES_FROM_CODE)
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for folder in ("", "docs", "include/docs", "sandbox", "examples")
    for page in (ROOT / folder).glob("*.md" if not folder else "**/*.md")
    if page.relative_to(ROOT).as_posix() not in GENERATED
)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_between_files_leads_to_a_file_and_a_heading(name: str) -> None:
    page = ROOT / name
    for link in links(page):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix() in GENERATED:
            continue
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in headings(target), f"{name}: {link}"


def test_every_page_of_the_site_is_in_its_navigation_once() -> None:
    shown = [*_files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])]
    there = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    made = {name.removeprefix("docs/") for name in GENERATED}
    assert sorted(shown) == sorted(there | made)


def _files(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for value in entry.values():
            yield from _files(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _files(value)


# Notes on the past and on other projects name files that are not here.
HISTORY = ("CHANGELOG.md", "docs/notes/")


@pytest.mark.parametrize("name", [page for page in PAGES if not page.startswith(HISTORY)])
def test_every_file_of_the_project_that_a_page_names_exists(name: str) -> None:
    folders = "dags|demo|docs|examples|hosting|include|plugins|sandbox|scripts|tests"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", (ROOT / name).read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
