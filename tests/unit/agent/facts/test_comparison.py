"""How a release differs from its commit, as a droplet finds out."""

from __future__ import annotations

import json

import pytest

from bluegreen.checks.facts import (
    Comparison,
)
from bluegreen.checks.not_checked import not_checked
from tests.unit.compared_release import app_server_facts, compared
from tests.unit.facts import facts, server
from tests.unit.facts_verb import NEEDS_ROOT

ATTRIBUTES = (
    "printf 'left-out export-ignore\\nfile text eol=crlf\\nstamp export-subst ident\\n' >.gitattributes;"
    " touch left-out; echo '$Format:%H$ $Id$' >stamp"
)


@NEEDS_ROOT
@pytest.mark.parametrize("commit", ["true", ATTRIBUTES, "mkdir local; touch local/a REVISION"])
def test_a_release_is_as_its_commit_whatever_git_changes_in_it_and_the_build_adds(commit: str) -> None:
    assert compared(commit) == {"problem": None, "files": [], "more": 0, "unclear": []}


@NEEDS_ROOT
@pytest.mark.parametrize("commit", ["true", ATTRIBUTES])
@pytest.mark.parametrize(
    ("by_hand", "path", "what"),
    [
        ("echo two >>file", "file", "it is not as it was committed"),
        ("rm file && ln -s /etc/passwd file", "file", "it is not as it was committed"),
        ("rm file", "file", "it is not there"),
        ("mkdir -p lib && echo it >lib/by-hand", "lib/by-hand", "it was not committed"),
        ("ln -s /etc linked", "linked", "it was not committed"),
    ],
)
def test_what_was_changed_in_a_release_is_named_with_attributes_and_without(
    commit: str, by_hand: str, path: str, what: str
) -> None:
    [file] = compared(commit, by_hand)["files"]
    assert (file["path"], file["what"]) == (path, what)
    assert ("+two" in "".join(file["diff"])) is ("two" in by_hand)


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("commit", "by_hand"),
    [
        ("mkdir conf && echo x >conf/shadow", "rm -r conf && ln -s /etc conf"),
        ("mkdir -p a/b && echo x >a/b/shadow", "rm -r a/b && ln -s ../../../../../../etc a/b"),
        ("echo x >key", "rm key && ln -s /etc/shadow key"),
        ("echo x >key", "rm key && cp /etc/shadow key && chmod 600 key"),
        ("true", "rm REVISION && ln -s /etc/shadow REVISION"),
        ("true", "rm .bluegreen/start && ln -s /etc/shadow .bluegreen/start"),
        (
            "true",
            "rm -r .bluegreen && mkdir /opt/else && cp /etc/shadow /opt/else/start"
            " && chmod 644 /opt/else/start && ln -s /opt/else .bluegreen",
        ),
        ("echo x >fifo", "rm fifo && mkfifo fifo"),
        ("echo x >device", "rm device && mknod device c 1 5"),
    ],
)
def test_a_dry_run_reads_nothing_that_nobody_may_read_and_nothing_outside_the_release(
    commit: str, by_hand: str
) -> None:
    """Root's password is in /etc/shadow, of which nobody else can read a line."""
    secret = "root:$6$SECRET"
    shadow = f"printf '%s\\n' '{secret}' >/opt/shadow && chmod 600 /opt/shadow && mount --bind /opt/shadow"
    said = app_server_facts(commit, f"{shadow} /etc/shadow && {by_hand}")
    assert "SECRET" not in said
    assert json.loads(said)["compared"]["problem"] is None


@NEEDS_ROOT
def test_of_a_release_with_far_too_many_files_some_are_named_and_all_are_counted() -> None:
    found = compared(by_hand="mkdir -p a/b && cd a/b && seq -f %g 5000 | xargs touch")
    assert (len(found["files"]), found["more"]) == (20, 4980)


@NEEDS_ROOT
@pytest.mark.parametrize(("text", "found"), [("one", []), ("two", ["local/a"])])
def test_a_local_that_is_committed_counts_where_the_build_makes_none(text: str, found: list[str]) -> None:
    local = "mkdir local && echo {} >local/a"
    seen = compared(f"rm cpanfile && {local.format('one')}", f"rm -r local && {local.format(text)}")
    assert [file["path"] for file in seen["files"]] == found


@NEEDS_ROOT
def test_large_files_of_a_release_are_compared_to_their_end() -> None:
    found = compared(
        "head -c 3000000 /dev/zero >large", "printf x | dd of=large seek=2999999 bs=1 conv=notrunc"
    )
    assert [file["path"] for file in found["files"]] == ["large"]
    assert compared("head -c 3000000 /dev/zero >large")["files"] == []


@NEEDS_ROOT
def test_what_git_may_fill_in_otherwise_today_is_no_drift_but_told() -> None:
    found = compared(
        "echo 'stamp export-subst' >.gitattributes; echo '$Format:%ar$' >stamp", "echo long ago >stamp"
    )
    assert (found["files"], found["unclear"]) == ([], ["stamp"])


@NEEDS_ROOT
def test_of_many_files_the_first_are_named_and_the_rest_counted() -> None:
    found = compared(by_hand="mkdir many && cd many && touch $(seq 100 124)")
    assert (len(found["files"]), found["files"][0]["path"], found["more"]) == (20, "many/100", 5)


@NEEDS_ROOT
@pytest.mark.parametrize("lost", ["rm -r /opt/shop/repo.git", "rm -r /opt/shop/repo.git/objects/*"])
def test_why_a_release_was_not_compared_is_told(lost: str) -> None:
    why = compared(by_hand=lost)["problem"]
    [line] = not_checked(facts(servers={"green-1": server(compared=Comparison(problem=why))}))
    assert line.startswith("whether the release on green-1 is as it was committed: ")
    assert len(line) > 60
