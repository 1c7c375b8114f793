"""Which revisions may be deployed, on real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bluegreen.errors import PolicyError, RefError, SettingsError
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.source.policy import Age, compare, require_new_enough, resolve
from tests.unit.repositories import Repository, app_of

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """``main`` with an annotated tag v1 below its tip, and a branch ``feature/#12`` beside it."""
    repository = Repository(tmp_path / "repository")
    repository.commit()
    repository.git("tag", "-a", "-m", "annotated", "v1")
    repository.commit()
    repository.git("checkout", "-q", "-b", "feature/#12", "main~1")
    repository.commit()
    repository.git("checkout", "-q", "main")
    return repository


def revision(repository: Repository, name: str) -> str:
    return repository.git("rev-parse", f"{name}^{{commit}}")


@pytest.mark.parametrize(
    ("ref", "means", "why"),
    [
        ("main", "main", "branch main"),
        ("HEAD", "main", "branch main"),
        ("origin/main", "main", "branch main"),
        ("refs/heads/main", "main", "branch main"),
        ("refs/remotes/origin/main", "main", "branch main"),
        ("remotes/origin/main", "main", "branch main"),
        ("origin/HEAD", "main", "branch main"),
        ("heads/main", "main", "branch main"),
        ("tags/v1", "v1", "branch main"),
        ("v1", "v1", "branch main"),
        ("refs/tags/v1", "v1", "branch main"),
    ],
)
def test_the_default_branch_its_ancestors_and_tags_may_be_deployed_by_any_usual_name(
    repository: Repository, ref: str, means: str, why: str
) -> None:
    found = resolve(app_of(repository.url), ref)
    assert (found.revision, found.why) == (revision(repository, means), why)


def test_a_commit_may_be_named_in_capitals_by_its_first_digits_and_as_git_describes_it(
    repository: Repository,
) -> None:
    main = revision(repository, "main")
    described = repository.git("describe", "main")
    assert described.startswith("v1-1-g")
    for ref in (main, main.upper(), main[:8], main[:12].upper(), described):
        assert resolve(app_of(repository.url), ref).revision == main


def test_the_subject_of_a_commit_is_one_short_printable_line(repository: Repository) -> None:
    subject = "Fix the \x1b[31mcart\u202e " + "x" * 500
    repository.git("commit", "--allow-empty", "-q", "-m", f"{subject}\n\nThe body.")
    assert resolve(app_of(repository.url), "main").commit == f"Fix the ?[31mcart? {'x' * 181}…"


def test_a_commit_of_a_fork_is_refused_although_the_repository_serves_it(
    repository: Repository, tmp_path: Path
) -> None:
    fork = tmp_path / "fork"
    subprocess.run(["git", "clone", "-q", repository.url, str(fork)], check=True)
    # A forge keeps the objects of a repository and of its forks together, and shows those of a pull request.
    repository.git("fetch", "-q", str(fork), "+main:refs/pull/1/head")
    repository.git("checkout", "-q", "--detach", "main")
    evil = repository.commit(**{"app.psgi": "evil"})
    repository.git("update-ref", "refs/pull/1/head", evil)
    repository.git("checkout", "-q", "main")
    with pytest.raises(PolicyError, match=r"policy\.branches and policy\.tags.*fork"):
        resolve(app_of(repository.url), evil)
    with pytest.raises(RefError, match="neither a branch nor a tag"):
        resolve(app_of(repository.url), "refs/pull/1/head")
    with pytest.raises(RefError, match="no branch or tag"):
        resolve(app_of(repository.url), evil[:10])


@pytest.mark.parametrize("ref", ["feature/#12", "refs/heads/feature/#12", "origin/feature/#12"])
def test_another_branch_is_refused_unless_the_apps_file_names_it(repository: Repository, ref: str) -> None:
    tip = revision(repository, "feature/#12")
    named = rf"\({tip[:12]}\) may not be .*policy\.branches allows \(main\).*policy\.tags allows \(\*\)"
    with pytest.raises(PolicyError, match=named):
        resolve(app_of(repository.url), ref)
    with pytest.raises(PolicyError, match=f"{tip[:12]} may not be deployed"):
        resolve(app_of(repository.url), tip)
    found = resolve(app_of(repository.url, branches=["main", "feature/*"]), ref)
    assert (found.revision, found.why) == (tip, "branch feature/#12")


def test_a_tag_allows_its_own_commit_and_not_those_below_it(repository: Repository) -> None:
    repository.git("checkout", "-q", "feature/#12")
    below = revision(repository, "HEAD")
    repository.commit()
    repository.git("tag", "release-1")
    repository.git("checkout", "-q", "main")
    assert resolve(app_of(repository.url), "release-1").why == "tag release-1"
    with pytest.raises(PolicyError):
        resolve(app_of(repository.url), below)
    with pytest.raises(PolicyError, match=r"policy\.tags allows \(v\*\)"):
        resolve(app_of(repository.url, tags=["v*"]), "release-1")
    with pytest.raises(PolicyError, match=r"policy\.tags allows \(none\)"):
        resolve(app_of(repository.url, tags=[]), "release-1")


def test_a_tag_and_a_branch_of_one_name_but_two_commits_are_ambiguous(repository: Repository) -> None:
    repository.git("branch", "v1", "main")
    with pytest.raises(RefError, match=r"ambiguous.*refs/tags/v1 is \w{12}, refs/heads/v1 is .*full name"):
        resolve(app_of(repository.url), "v1")
    assert resolve(app_of(repository.url), "refs/heads/v1").revision == revision(repository, "main")


def test_a_branch_that_is_called_like_another_with_its_remote_is_ambiguous(repository: Repository) -> None:
    repository.git("branch", "origin/main", "v1")
    with pytest.raises(RefError, match=r"ambiguous.*refs/heads/origin/main is .*refs/heads/main is"):
        resolve(app_of(repository.url), "origin/main")


@pytest.mark.parametrize(
    ("ref", "advice"),
    [
        ("nope", "there is no branch or tag 'nope' in .*push it, or check the spelling"),
        ("abc1234", "if it is a commit, give more digits"),
        ("v1-1-gabc1234", "if it is a commit, give more digits"),
        ("heads/nope", "there is no branch or tag 'heads/nope'"),
        ("refs/heads/nope", "there is no branch or tag 'refs/heads/nope' in .*push it"),
        ("Main", "there is no branch or tag 'Main' in .*push it, or check the spelling"),
        ("main~1", "a ref is a branch, a tag or a commit id"),
    ],
)
def test_what_is_not_there_is_named_with_advice(repository: Repository, ref: str, advice: str) -> None:
    with pytest.raises(RefError, match=advice):
        resolve(app_of(repository.url), ref)


def test_a_tag_of_something_else_than_a_commit_is_refused(repository: Repository) -> None:
    repository.git("tag", "tree", "main^{tree}")
    with pytest.raises(RefError, match="names no commit"):
        resolve(app_of(repository.url), "tree")


def test_what_is_pushed_or_removed_is_seen_at_once(repository: Repository) -> None:
    app = app_of(repository.url)
    before = resolve(app, "main").revision
    after = repository.commit()
    assert resolve(app, "main").revision == after != before
    repository.git("tag", "-d", "v1")
    with pytest.raises(RefError, match="no branch or tag 'v1'"):
        resolve(app, "v1")


def test_what_is_older_than_live_is_refused_by_the_setting_and_may_be_forced(repository: Repository) -> None:
    app, old, live = app_of(repository.url), revision(repository, "v1"), repository.commit()
    age = compare(app, old, live)
    assert str(age) == f"older than live ({live[:12]}) by 2 commits"
    refusal = r"older than live .*setting policy\.allow_older: asked.*the parameter allow_older"
    with pytest.raises(PolicyError, match=refusal):
        require_new_enough(app, old, age, forced=False)
    require_new_enough(app, old, age, forced=True)
    require_new_enough(app_of(repository.url, allow_older="always"), old, age, forced=False)
    with pytest.raises(PolicyError, match=r"setting policy\.allow_older: never\); (?!.*parameter)"):
        require_new_enough(app_of(repository.url, allow_older="never"), old, age, forced=True)


def test_newer_equal_and_later_on_another_line_are_not_older(repository: Repository) -> None:
    app, main = app_of(repository.url), revision(repository, "main")
    assert compare(app, main, main) == Age(main, 0, is_older=False)
    assert not compare(app, main, revision(repository, "v1")).is_older
    beside = revision(repository, "feature/#12")
    assert compare(app, beside, main) == Age(main, 1, is_older=False)
    # A release of an old line that was made before what is live would lose what is live.
    assert compare(app, main, beside) == Age(beside, 1, is_older=True)


def test_a_live_revision_that_the_repository_has_lost_cannot_be_compared(repository: Repository) -> None:
    age = compare(app_of(repository.url), revision(repository, "main"), "ab" * 20)
    assert (age.lacks, age.is_older) == (None, True)
    with pytest.raises(PolicyError, match=r"not comparable with abababababab, which was live .*allow_older"):
        require_new_enough(app_of(repository.url), "cd" * 20, age, forced=False)
    # No revision could be deployed at all otherwise.
    for setting in ("asked", "never"):
        with pytest.raises(PolicyError, match="push abababababab to a branch to have them") as refused:
            require_new_enough(app_of(repository.url, allow_older=setting), "cd" * 20, age, forced=False)
        assert ("set policy.allow_older: asked for this run" in str(refused.value)) is (setting == "never")


def test_what_is_live_and_not_known_cannot_be_compared(repository: Repository) -> None:
    main = revision(repository, "main")
    age = compare(app_of(repository.url), main, None)
    assert (age.live, age.lacks, age.is_older) == (None, None, True)
    for setting in ("asked", "never"):
        app = app_of(repository.url, allow_older=setting)
        with pytest.raises(
            PolicyError, match=r"not known which .*its droplets report none, or several"
        ) as refused:
            require_new_enough(app, main, age, forced=setting == "never")
        assert f"see bluegreen_status__{app.id}" in str(refused.value)
        assert ("set policy.allow_older: asked for this run" in str(refused.value)) is (setting == "never")
    require_new_enough(app_of(repository.url), main, age, forced=True)
    require_new_enough(app_of(repository.url, allow_older="always"), main, age, forced=False)


def test_a_rewritten_history_can_be_compared_once_the_live_revision_is_pushed_again(
    repository: Repository,
) -> None:
    app, main = app_of(repository.url), revision(repository, "main")
    lost = repository.commit()
    repository.git("reset", "--quiet", "--hard", main)
    repository.git("branch", "kept", lost)
    assert compare(app, main, lost).lacks == 1


def test_a_live_revision_stays_comparable_when_the_history_is_rewritten(repository: Repository) -> None:
    app, live = app_of(repository.url), repository.commit()
    compare(app, live, live)
    compare(app, revision(repository, "v1"), live)
    repository.git("reset", "-q", "--hard", "v1")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    rewritten = repository.commit()
    assert compare(app, rewritten, live).is_older is False


class Signer:
    """Somebody with an SSH key."""

    def __init__(self, directory: Path, name: str) -> None:
        self.key = directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        kind, key, *_ = self.key.with_suffix(".pub").read_text().split()
        self.line = f"{name}@example.com {kind} {key}"

    def options(self) -> list[str]:
        """Return what makes git sign by this key."""
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}"]


@pytest.fixture
def signer(tmp_path: Path) -> Callable[[str], Signer]:
    return lambda name: Signer(tmp_path, name)


def test_a_revision_has_to_be_signed_by_a_key_of_the_apps_file(
    repository: Repository, signer: Callable[[str], Signer]
) -> None:
    alice, mallory = signer("alice"), signer("mallory")
    app = app_of(repository.url, signed_by=[alice.line])
    with pytest.raises(PolicyError, match=r"signed by a key that policy\.signed_by lists"):
        resolve(app, "main")
    repository.git(*mallory.options(), "commit", "-q", "-S", "--allow-empty", "-m", "by mallory")
    with pytest.raises(PolicyError, match=r"policy\.signed_by"):
        resolve(app, "main")
    repository.git(*alice.options(), "commit", "-q", "-S", "--allow-empty", "-m", "by alice")
    assert resolve(app, "main").signed_by == "alice@example.com"
    repository.commit()
    with pytest.raises(PolicyError, match=r"policy\.signed_by"):
        resolve(app, "main")
    repository.git(*alice.options(), "tag", "-s", "-m", "by alice", "v2")
    assert resolve(app, "v2").signed_by == "alice@example.com"
    # The commit that the tag names, whatever it is called.
    assert resolve(app, "main").signed_by == "alice@example.com"


def test_signatures_that_cannot_be_checked_are_no_reason_to_call_a_commit_unsigned(
    monkeypatch: pytest.MonkeyPatch, repository: Repository, signer: Callable[[str], Signer]
) -> None:
    app = app_of(repository.url, signed_by=[signer("alice").line])
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RefError, match="ssh-keygen is not installed"):
        resolve(app, "main")


def test_a_signed_tag_that_may_not_be_deployed_signs_nothing(
    repository: Repository, signer: Callable[[str], Signer]
) -> None:
    alice = signer("alice")
    repository.git(*alice.options(), "tag", "-s", "-m", "by alice", "test-1")
    with pytest.raises(PolicyError, match=r"policy\.signed_by"):
        resolve(app_of(repository.url, signed_by=[alice.line], tags=["v*"]), "main")


def test_a_pushed_replace_ref_replaces_nothing(repository: Repository) -> None:
    good, app = revision(repository, "main"), app_of(repository.url)
    repository.git("checkout", "-q", "--detach", "v1")
    evil = repository.commit(**{"app.psgi": "evil"})
    repository.git("checkout", "-q", "main")
    repository.git("replace", good, evil)
    repository.git("tag", f"replace/{good}", evil)
    assert resolve(app, good).why == "branch main"
    assert compare(app, revision(repository, "v1"), good).lacks == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{branch: main}", r"policy\.branch: unknown key; allowed here are .*branches"),
        ("{approval: sometimes}", r"policy\.approval: found 'sometimes'.*'always', 'never' or 'asked'"),
        ("{branches: [], tags: []}", r"policy: .*nothing could be deployed"),
        ("{signed_by: [alice@example.com]}", r"policy\.signed_by\.0: .*allowed are lines as in"),
        ("{signed_by: [a ssh-ed25519 AAAA]}", r"policy\.signed_by\.0: .*the key is not of the type"),
        ("{branches: main}", r"policy\.branches: found 'main'"),
    ],
)
def test_a_mistake_in_the_policy_is_named(tmp_path: Path, policy: str, expected: str) -> None:
    reference = (Path(__file__).parents[3] / "include/apps/my_perl_app.yaml.example").read_text()
    text = "\n".join(line for line in reference.splitlines() if not line.startswith("policy:"))
    (tmp_path / "shop.yaml").write_text(f"{text}\npolicy: {policy}\n")
    with pytest.raises(SettingsError, match=expected):
        load_app("shop", tmp_path)


def test_the_reference_file_has_the_strict_defaults() -> None:
    app: App = load_app("my_perl_app")
    found: dict[str, Any] = app.policy.model_dump(mode="json")
    assert found == {
        "branches": None,
        "tags": ["*"],
        "signed_by": [],
        "allow_older": "asked",
        "approval": "asked",
        "approvers": [],
        "artifacts": "never",
        "run": [],
    }
