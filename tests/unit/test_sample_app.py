"""The sample application's repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox.sample_app import build_repository

# Each tag, and what its front page says.
TAGS = (
    *("v1", "v2", "v3-broken", "v4-bad", "v5-flaky", "v6-slow"),
    *("v7-https", "v8-https-bad", "v9-mounted"),
)
NAMES = {tag: tag.partition("-")[0] for tag in TAGS}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repositories") / "my_perl_app.git"
    build_repository(path)
    return path


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_tags_and_main(repository: Path) -> None:
    listing = [line.split() for line in git(repository, "show-ref").splitlines()]
    refs = {name: revision for revision, name in listing}
    assert set(refs) == {
        "refs/heads/main",
        *(f"refs/tags/{tag}" for tag in NAMES),
    }
    assert refs["refs/heads/main"] == refs["refs/tags/v2"]
    assert len(set(refs.values())) == len(NAMES)


def test_commits_are_the_same_every_time(repository: Path, tmp_path: Path) -> None:
    assert build_repository(tmp_path / "again.git") == build_repository(repository)


def test_other_branches_survive_a_second_build(tmp_path: Path) -> None:
    path = tmp_path / "my_perl_app.git"
    revisions = build_repository(path)
    git(path, "update-ref", "refs/heads/feature", revisions["v1"])
    git(path, "update-ref", "refs/heads/main", revisions["v1"])
    assert build_repository(path) == revisions
    assert git(path, "rev-parse", "feature", "main").split() == [revisions["v1"], revisions["v2"]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["my_perl_app.git"]


def test_front_page_tells_releases_apart(repository: Path) -> None:
    for tag, name in NAMES.items():
        assert f"$NAME = '{name}'" in git(repository, "show", f"{tag}:lib/MyPerlApp/Release.pm").replace(
            "  ", " "
        )


def test_dependency_is_listed_and_carried(repository: Path) -> None:
    """An empty snapshot, or a missing tarball, would only be noticed on a machine without a network."""
    snapshot = git(repository, "show", "v1:cpanfile.snapshot")
    assert "Try::Tiny 0.31" in snapshot
    pathname = next(line.split()[1] for line in snapshot.splitlines() if "pathname:" in line)
    assert git(repository, "cat-file", "-s", f"v1:vendor/cache/authors/id/{pathname}").strip() == "35784"


def test_clone_of_the_default_branch_is_v2(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    assert git(tmp_path / "clone", "describe", "--tags").strip() == "v2"
