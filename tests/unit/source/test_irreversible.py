"""Which revisions declare that there is no way back from them, on real repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bluegreen.errors import PolicyError, RefError
from bluegreen.settings.app import App
from bluegreen.source.irreversible import LONGEST_REASON
from bluegreen.source.policy import Age, compare, require_new_enough, require_reversible, resolve
from tests.unit.repositories import Repository, app_of

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """``main`` with one commit, which is live."""
    repository = Repository(tmp_path / "repository")
    repository.commit()
    repository.git("tag", "live")
    return repository


def said(repository: Repository, revision: str = "main", live: str = "live") -> Age:
    commits = (repository.git("rev-parse", f"{name}^{{commit}}") for name in (revision, live))
    return compare(app_of(repository.url), *commits)


def message(repository: Repository, text: str) -> str:
    """Make a commit with a message, and return its short id."""
    revision = repository.commit("--cleanup=verbatim", "-m", text)
    return repository.git("rev-parse", "--short", revision)


@pytest.mark.parametrize(
    "text",
    [
        "Drop the column\n\nIrreversible: users.email is gone\n",
        "Drop the column\n\nirreversible:users.email is gone\nSigned-off-by: T <t@example.com>\n",
        "Two things (#12)\n\n* Drop the column\n\nIrreversible: users.email is gone\n\n* Another\n\nBody.\n",
    ],
    ids=["a trailer", "in small letters, among others", "in the middle, as forges squash commits"],
)
def test_a_commit_declares_itself_irreversible_by_a_line_of_its_message(
    repository: Repository, text: str
) -> None:
    repository.commit()
    commit = message(repository, text)
    repository.commit()
    assert said(repository).irreversible == f"{commit}: users.email is gone"


@pytest.mark.parametrize(
    "text",
    ["Not Irreversible: at all\n", "Irreversibly: no\n", "  Irreversible: quoted\n", "Irreversible at all\n"],
)
def test_other_lines_declare_nothing(repository: Repository, text: str) -> None:
    message(repository, f"A commit\n\n{text}")
    assert said(repository).irreversible is None


def test_only_commits_that_are_not_live_yet_count(repository: Repository) -> None:
    message(repository, "Drop\n\nIrreversible: yes\n")
    repository.git("tag", "-f", "live")
    assert said(repository).irreversible is None
    repository.commit()
    assert said(repository).irreversible is None
    # The same revision once more is no way forward that could not be gone back.
    assert said(repository, "live").irreversible is None


def test_a_merged_branch_counts(repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "feature")
    commit = message(repository, "Drop\n\nIrreversible: yes\n")
    repository.git("checkout", "-q", "main")
    repository.commit()
    repository.git("merge", "-q", "--no-ff", "-m", "Merge", "feature")
    assert said(repository).irreversible == f"{commit}: yes"


def test_what_is_shown_is_one_short_line_whatever_a_message_has(repository: Repository) -> None:
    for number in range(5):
        message(repository, f"{number}\n\nIrreversible: {number} \x1b[31m{'x' * 10_000}\n")
    message(repository, "none\n\nIrreversible:\n")
    shown = said(repository).irreversible or ""
    assert shown.isprintable()
    assert len(shown) < 3 * (LONGEST_REASON + 20)
    assert ": no reason is given; " in shown
    assert shown.endswith("…; and more")


def test_many_declarations_are_not_all_read(repository: Repository) -> None:
    for _ in range(30):
        message(repository, "Drop\n\nIrreversible: yes\n")
    assert (said(repository).irreversible or "").count(": yes") == 3


def test_the_git_configuration_of_airflows_user_changes_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[grep]\n\tpatternType = fixed\n[log]\n\tshowSignature = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    commit = message(repository, "Drop\n\nIrreversible: yes\n")
    assert said(repository).irreversible == f"{commit}: yes"


def test_in_a_history_that_shares_nothing_with_the_live_one_all_commits_count(repository: Repository) -> None:
    repository.git("checkout", "-q", "--orphan", "other")
    commit = message(repository, "Anew\n\nIrreversible: yes\n")
    repository.commit()
    assert said(repository, "other").irreversible == f"{commit}: yes"


def test_if_it_is_not_known_what_is_live_all_commits_count(repository: Repository) -> None:
    app = app_of(repository.url)
    assert compare(app, repository.git("rev-parse", "main"), None).irreversible is None
    commit = message(repository, "Drop\n\nIrreversible: yes\n")
    repository.commit()
    age = compare(app, repository.git("rev-parse", "main"), None)
    assert age.irreversible == f"{commit}: yes"
    with pytest.raises(PolicyError, match="not known which revision is live, so all its commits count"):
        require_reversible(app, "a" * 40, age)


def test_if_the_repository_has_lost_the_live_revision_all_commits_count(repository: Repository) -> None:
    commit = message(repository, "Drop\n\nIrreversible: yes\n")
    repository.commit()
    age = compare(app_of(repository.url), repository.git("rev-parse", "main"), "f" * 40)
    assert (age.lacks, age.irreversible) == (None, f"{commit}: yes")
    with pytest.raises(PolicyError, match="does not have ffffffffffff any more, so all its commits count"):
        require_reversible(app_of(repository.url), "a" * 40, age)


def test_a_shallow_repository_is_refused_rather_than_half_believed(
    repository: Repository, tmp_path: Path
) -> None:
    message(repository, "Drop\n\nIrreversible: yes\n")
    repository.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--depth=1", f"file://{repository.path}", str(shallow)],
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    with pytest.raises(RefError):
        resolve(app_of(str(shallow)), "main")


def allowing(repository: Repository) -> App:
    app = app_of(repository.url)
    allowed = type(app.migrations).model_validate({"irreversible": "allow"})
    return app.model_copy(update={"migrations": allowed})


def test_an_irreversible_revision_is_refused_unless_the_apps_file_allows_it(repository: Repository) -> None:
    commit = message(repository, "Drop\n\nIrreversible: users.email is gone\n")
    age = said(repository)
    with pytest.raises(PolicyError, match=rf"{commit}: users.email is gone.*migrations.irreversible: refuse"):
        require_reversible(app_of(repository.url), "a" * 40, age)
    require_reversible(allowing(repository), "a" * 40, age)
    require_reversible(app_of(repository.url), "a" * 40, said(repository, "live"))


def test_a_deploy_of_an_older_revision_says_what_irreversible_it_undoes(repository: Repository) -> None:
    old = repository.git("rev-parse", "main")
    commit = message(repository, "Drop\n\nIrreversible: users.email is gone\n")
    age = said(repository, old, "main")
    assert str(age).endswith(f"by 1 commit, among them what is irreversible ({commit}: users.email is gone)")
    assert age.irreversible is None
    with pytest.raises(PolicyError, match=f"among them what is irreversible .{commit}"):
        require_new_enough(app_of(repository.url), old, age, forced=False)
