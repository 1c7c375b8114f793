"""How a release differs from its manifest, as a droplet finds out."""

from __future__ import annotations

import grp
import json
import os
from pathlib import Path

import pytest

from agent.droplet.app_paths import AppPaths
from agent.facts import comparison
from agent.facts.nobody import as_nobody
from agent.paths import Paths
from agent.system import CallDeadline
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import Comparison
from tests.unit.agent.droplet.built_release import APP, build_release
from tests.unit.compared_release import app_server_facts, compared
from tests.unit.facts import facts, server
from tests.unit.facts_verb import NEEDS_ROOT

pytestmark = NEEDS_ROOT


def test_a_release_that_nobody_has_touched_is_as_it_was_built() -> None:
    found = app_server_facts()
    assert found["compared"] == {"problem": None, "files": [], "more": 0}
    assert [found["current"]] == found["releases"]


@pytest.mark.parametrize(
    ("by_hand", "path", "what"),
    [
        ("echo two >>file", "file", "it is not as it was built"),
        ("rm file && ln -s /etc/passwd file", "file", "it is not as it was built"),
        ("rm lib/Shop.pm", "lib/Shop.pm", "it is not there"),
        ("chmod 644 script", "script", "its mode is 644 instead of 755"),
        ("chown nobody file", "file", "its owner is the user 65534 instead of 0"),
        ("ln -sfn script link", "link", "it is not as it was built"),
        ("echo it >lib/ByHand.pm", "lib/ByHand.pm", "it was added"),
        ("ln -s /etc linked", "linked", "it was added"),
    ],
)
def test_what_was_changed_in_a_release_is_named(by_hand: str, path: str, what: str) -> None:
    assert compared(by_hand=by_hand)["files"] == [{"path": path, "what": what}]


@pytest.mark.parametrize(
    ("by_hand", "what"),
    [
        ("echo >>.bluegreen/manifest", "its digest is "),
        ("rm .bluegreen/manifest", "it is not there"),
        ("rm .bluegreen/manifest && ln -s /etc/shadow .bluegreen/manifest", "it cannot be read: "),
        ("rm .bluegreen/manifest && mkfifo .bluegreen/manifest", "it cannot be read: "),
        ("rm -r .bluegreen && ln -s /etc .bluegreen", "it is not there"),
    ],
)
def test_a_manifest_that_is_not_the_release_s_own_is_named(by_hand: str, what: str) -> None:
    [file] = compared(by_hand=by_hand)["files"]
    assert file["path"] == ""
    assert file["what"].startswith(what)


@pytest.mark.parametrize(
    "by_hand",
    [
        "rm -r lib && ln -s /etc lib",
        "rm file && ln -s /etc/shadow file",
        "rm file && cp /etc/shadow file && chmod 600 file",
        "rm file && mkfifo file",
        "rm file && mknod file c 1 5",
    ],
)
def test_a_dry_run_reads_nothing_that_nobody_may_read_and_nothing_outside_the_release(by_hand: str) -> None:
    """Root's password is in /etc/shadow, of which nobody else can read a line."""
    shadow = "echo root:SECRET >/opt/shadow && chmod 600 /opt/shadow && mount --bind /opt/shadow /etc/shadow"
    said = app_server_facts(by_hand=f"{shadow} && {by_hand}")
    assert "SECRET" not in json.dumps(said)
    assert said["compared"]["problem"] is None
    assert said["compared"]["files"]


def test_of_a_release_with_far_too_many_files_some_are_named_and_all_are_counted() -> None:
    found = compared(by_hand="mkdir -p a/b && cd a/b && seq -f %g 5000 | xargs touch")
    assert (len(found["files"]), found["more"]) == (20, 4982)


def test_large_files_of_a_release_are_compared_to_their_end() -> None:
    found = compared(
        "head -c 3000000 /dev/zero >large", "printf x | dd of=large seek=2999999 bs=1 conv=notrunc"
    )
    assert [file["path"] for file in found["files"]] == ["large"]
    assert compared("head -c 3000000 /dev/zero >large")["files"] == []


def test_a_comparison_that_does_not_end_in_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AppPaths(Paths(), APP)
    monkeypatch.setattr(AppPaths, "releases", tmp_path)
    monkeypatch.setattr(comparison, "SPARE_SECONDS", 100)
    monkeypatch.setattr(comparison, "LEAST_SECONDS", 0)
    monkeypatch.setattr(comparison, "as_nobody", lambda _, question, group: (question(), None))
    release = build_release(tmp_path / "new").manifest.release
    (tmp_path / "new").rename(tmp_path / release)
    found = comparison.compared(CallDeadline("facts", 20), app, release)
    assert found == {"problem": "there was no time to read all of it", "files": [], "more": 0}


def test_who_has_no_rights_may_read_what_one_group_may(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.chown(secret, -1, grp.getgrnam("games").gr_gid)
    secret.chmod(0o640)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    assert as_nobody(10, secret.read_text, group="games") == ("x", None)
    assert as_nobody(10, secret.read_text)[0] is None


def test_why_a_release_was_not_compared_is_listed() -> None:
    why = Comparison(problem="there was no time to read all of it")
    [line] = not_checked(facts(servers={"green-1": server(compared=why)}))
    assert line == "whether the release on green-1 is as it was built: there was no time to read all of it"
