"""Refs that people type, and what becomes of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bluegreen.errors import RefError
from bluegreen.git import REF_PATTERN, check_ref, resolve_ref

HOSTILE = [
    "--upload-pack=x",
    "a;id",
    "$(id)",
    "../x",
    "x" * 300,
    "",
    "v1\n",
    "a b",
    "a//b",
    "-v",
    "é",
    "x.lock",
    "a@{1}",
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    # A path is what a test has; the transports of real repositories are allowed elsewhere.
    monkeypatch.setattr("bluegreen.git.ALLOWED_PROTOCOLS", "file")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(
            ["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("tag", "-a", "-m", "annotated", "v1")
    git("tag", "both")
    git("commit", "-q", "--allow-empty", "-m", "two")
    git("branch", "both")
    git("branch", "feature/x")
    return str(tmp_path)


def _revision(repository: str, name: str) -> str:
    done = subprocess.run(
        ["git", "-C", repository, "rev-parse", name], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("ref", HOSTILE)
def test_a_malformed_ref_is_refused_and_the_rule_is_told(ref: str) -> None:
    with pytest.raises(RefError, match="a ref is a branch, a tag or a commit"):
        check_ref(ref)
    # The trigger form and the REST API use the same pattern with re.search.
    assert not re.search(REF_PATTERN, ref)


@pytest.mark.parametrize("ref", ["main", "v1.2.3", "feature/x-1", "a" * 200, "release@2024", "0" * 40])
def test_ordinary_refs_pass(ref: str) -> None:
    assert check_ref(ref) == ref
    assert re.search(REF_PATTERN, ref)


def test_branches_and_tags_resolve_to_commits(repository: str) -> None:
    assert resolve_ref(repository, "main") == _revision(repository, "main")
    assert resolve_ref(repository, "feature/x") == _revision(repository, "feature/x")


def test_an_annotated_tag_means_its_commit_and_not_the_tag_object(repository: str) -> None:
    assert resolve_ref(repository, "v1") == _revision(repository, "v1^{commit}")
    assert resolve_ref(repository, "v1") != _revision(repository, "v1")


def test_a_full_commit_id_is_taken_as_it_is() -> None:
    assert resolve_ref("https://192.0.2.1/never-asked.git", "ab" * 20) == "ab" * 20


def test_an_unknown_ref_is_named_with_its_repository(repository: str) -> None:
    with pytest.raises(RefError, match=f"no branch or tag 'nope' in {re.escape(repository)}"):
        resolve_ref(repository, "nope")


def test_an_abbreviated_commit_is_told_to_be_written_out(repository: str) -> None:
    with pytest.raises(RefError, match="a commit is named by all 40 digits"):
        resolve_ref(repository, "abc1234")


def test_a_tag_and_a_branch_of_one_name_but_two_commits_are_ambiguous(repository: str) -> None:
    with pytest.raises(RefError, match=r"both a tag .* and a branch"):
        resolve_ref(repository, "both")


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RefError, match=r"cannot read .*missing"):
        resolve_ref(str(tmp_path / "missing"), "main")
