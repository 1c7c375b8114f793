"""A dry run names the links that a deploy would refuse, in the same words."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bluegreen.agent_bundle import agent_text
from bluegreen.checks import links
from bluegreen.checks.facts import Source
from bluegreen.checks.gather import source as reading
from bluegreen.checks.gather.source import read_source
from tests.unit.facts import facts
from tests.unit.repositories import Repository, app_of


def source_of(repository: Repository, targets: dict[str, str]) -> Source:
    for path, target in targets.items():
        link = repository.path / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    repository.git("add", "--all")
    repository.commit()
    return read_source(app_of(repository.url), "main")


def found_in(source: Source) -> list[tuple[str, str]]:
    return [(one.subject, one.what.removeprefix("in main it ")) for one in links.links(facts(source=source))]


SAFE = {
    "a/b": "../lib/x",
    "b": "a/b",
    "dangling": "no/such/file",
    "dots": "a/./../lib",
    "a/c": "..",
    "odd\nname": "a/b",
}
OUT = {
    "uploads": ("/var/lib/app-shop/uploads", "is a link out of it, to /var/lib/app-shop/uploads"),
    "up": ("..", "is a link out of it, to .."),
    "a/up": ("../../x", "is a link out of it, to ../../x"),
    "a/round": ("round", "is a link that leads round in circles"),
    "by/other": ("../a/c/../y", "is a link out of it, to ../a/c/../y"),
}


@pytest.mark.skipif(not shutil.which("perl"), reason="perl is not installed")
@pytest.mark.parametrize("path", sorted(OUT))
def test_a_link_that_a_deploy_refuses_is_named_in_its_words(repository: Repository, path: str) -> None:
    target, why = OUT[path]
    source = source_of(repository, {**SAFE, path: target})
    assert found_in(source) == [(path, why)]
    program = agent_text("droplet/inspect.pl")
    shutil.rmtree(repository.path / ".git")
    said = subprocess.run(
        ["perl", "-e", program, str(repository.path)], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (1, f"{path} {why}\n")


def test_links_within_a_release_are_fine(repository: Repository) -> None:
    source = source_of(repository, SAFE)
    assert (found_in(source), dict(source.links)) == ([], SAFE)


def test_links_that_do_not_become_part_of_a_release_are_fine(repository: Repository) -> None:
    (repository.path / ".gitattributes").write_text("kept-out export-ignore\n")
    (repository.path / "cpanfile").write_text("")
    replaced = (".bluegreen/x", "REVISION", "local/lib", "kept-out", "kept-out-not")
    source = source_of(repository, dict.fromkeys(replaced, "/etc"))
    assert [subject for subject, _ in found_in(source)] == ["kept-out-not"]


def test_many_links_are_counted(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_LINKS", 7)
    source = source_of(repository, {f"link-{number}": "/etc" for number in range(9)})
    said = found_in(source)
    assert said[0] == ("link-0", "is a link out of it, to /etc, and 2 more are refused")
    assert said[5:] == [("main", "2 of its links were not read")]


def test_what_a_link_is_called_cannot_be_taken_for_something_else(repository: Repository) -> None:
    source = source_of(repository, {"a\x1b[2Jb": "/etc/\nx" + "y" * 300})
    [(subject, what)] = found_in(source)
    assert subject == "a?[2Jb"
    assert what.startswith("is a link out of it, to /etc/?xyyy")
    assert len(what) < 250


def test_a_submodule_is_named(repository: Repository) -> None:
    head = repository.commit(x="1")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},lib/other")
    repository.commit()
    source = read_source(app_of(repository.url), "main")
    [found] = links.submodules(facts(source=source))
    assert (found.subject, found.severity) == ("lib/other", "warning")
    assert "is a submodule: a release has an empty directory there" in found.what
