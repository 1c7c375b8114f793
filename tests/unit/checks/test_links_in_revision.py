"""A dry run names the links that a deploy would refuse, in the same words."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.checks import links
from bluegreen.checks.facts import Source
from tests.unit.facts import facts
from tests.unit.fleets import V2
from tests.unit.my_app import app_with


def found_in(targets: dict[str, str], *files: str, **settings: Any) -> list[tuple[str, str]]:
    """Return what is found in a source with these links, and these files besides."""
    paths = frozenset({*targets, *files})
    cpanfile = "" if "cpanfile" in files else None
    source = Source("main", V2, files=paths, cpanfile=cpanfile, links=targets)
    found = list(links.links(facts(app=app_with(**settings), source=source)))
    assert all(one.severity == "error" for one in found)
    return [(one.subject, one.what.removeprefix("in main it ")) for one in found]


SAFE = {
    "a/b": "../lib/x",
    "b": "a/b",
    "dangling": "no/such/file",
    "dots": "a/./../lib",
    "a/c": "..",
    "größe": "a/b",
}
OUT = {
    "uploads": ("/var/lib/app-shop/uploads", "is a link out of it, to /var/lib/app-shop/uploads"),
    "up": ("..", "is a link out of it, to .."),
    "a/up": ("../../x", "is a link out of it, to ../../x"),
    "a/round": ("round", "is a link that leads round in circles"),
    "by/other": ("../a/c/../y", "is a link out of it, to ../a/c/../y"),
}


@pytest.mark.parametrize("path", sorted(OUT))
def test_a_link_that_a_deploy_refuses_is_named_in_its_words(path: str) -> None:
    target, why = OUT[path]
    assert found_in({**SAFE, path: target}) == [(path, why)]


def test_links_within_a_release_are_fine() -> None:
    assert found_in(SAFE) == []


def test_a_link_to_a_shared_path_of_the_settings_is_fine() -> None:
    target = "/var/lib/app-my_perl_app/shared/uploads"
    assert found_in({"public/files": target}, shared=["uploads"]) == []
    assert [path for path, _ in found_in({"public/files": target})] == ["public/files"]


def test_links_that_do_not_become_part_of_a_release_are_fine() -> None:
    replaced = dict.fromkeys((".bluegreen/x", "REVISION", "local/lib"), "/etc")
    assert found_in(replaced, "cpanfile") == []
    assert [path for path, _ in found_in(replaced)] == ["local/lib"]


def test_the_dependencies_of_an_app_in_a_subdirectory_are_there() -> None:
    replaced = dict.fromkeys(("backend/local/lib", "local/lib"), "/etc")
    found = found_in(replaced, "cpanfile", server={"root": "backend"})
    assert [path for path, _ in found] == ["local/lib"]


def test_many_links_are_counted() -> None:
    said = found_in({f"link-{number}": "/etc" for number in range(7)})
    assert len(said) == 5
    assert said[0] == ("link-0", "is a link out of it, to /etc, and 2 more are refused")


def test_what_a_link_is_called_cannot_be_taken_for_something_else() -> None:
    [(subject, what)] = found_in({"a\x1b[2Jb": "/etc/\nx" + "y" * 300})
    assert subject == "a?[2Jb"
    assert what.startswith("is a link out of it, to /etc/?xyyy")
    assert len(what) < 250


@pytest.mark.parametrize("committed", ["uploads", "uploads/.keep"])
def test_what_is_committed_where_a_shared_path_is_to_be_is_named(committed: str) -> None:
    [(subject, what)] = found_in({}, committed, "uploads.txt", shared=["uploads"])
    assert subject == "uploads"
    assert what == "it is committed in main, and shared or files of the settings put a link there"
