"""The mirror of a repository on Airflow's machine, and a forge that is in trouble."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluegreen.errors import RefError
from bluegreen.source import cache, forge, git, mirror
from bluegreen.source.mirror import Mirror, with_mirror
from bluegreen.source.policy import commits_between, compare, resolve
from tests.unit.local_forge import Forge, local_forge
from tests.unit.repositories import Repository, app_of

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "shop.git")
    repository.commit(cpanfile="requires 'Plack';\n")
    repository.commit(cpanfile="requires 'Starman';\n")
    return repository


@pytest.fixture
def local(repository: Repository) -> Iterator[Forge]:
    with local_forge(repository.path.parent) as found:
        yield found


def mirror_of(tmp_path: Path) -> Path:
    [found] = (tmp_path / "cache" / "repositories").glob("*.git")
    return found


def read(repository: str, revision: str, path: str = "cpanfile") -> str:
    """Return a file of a revision."""

    def work(one: Mirror) -> str:
        blob = one.git("rev-parse", f"{revision}:{path}").strip()
        one.fetched(revision, [blob])
        return one.git("cat-file", "blob", blob)

    return with_mirror(repository, work)


def test_a_mirror_has_the_history_and_only_the_files_that_were_read(
    repository: Repository, local: Forge, tmp_path: Path
) -> None:
    url, head = f"{local.url}/shop.git", repository.git("rev-parse", "HEAD")
    assert read(url, head) == "requires 'Starman';\n"
    kinds = subprocess.run(
        ["git", "-C", str(mirror_of(tmp_path)), "cat-file", "--batch-all-objects", "--batch-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (kinds.count(" commit "), kinds.count(" blob ")) == (2, 1)


def test_a_repository_that_has_not_changed_is_asked_for_its_refs_only(
    repository: Repository, local: Forge
) -> None:
    app = app_of(f"{local.url}/shop.git")
    resolve(app, "main")
    local.asked.clear()
    resolve(app, "main")
    assert not any("filter" in one for one in local.asked)
    assert len(local.asked) <= 2


def test_a_forge_that_is_away_does_not_stop_what_needs_no_more_than_the_mirror_has(
    repository: Repository, local: Forge
) -> None:
    app, old = app_of(f"{local.url}/shop.git"), repository.git("rev-parse", "main~1")
    live = resolve(app, "main").revision
    local.misbehave("status", status=403)
    assert compare(app, old, live).is_older
    assert len(commits_between(app, old, live, 30)) == 1
    with pytest.raises(RefError, match="error: 403"):
        compare(app, "ab" * 20, live)


TROUBLE: dict[str, dict[str, Any]] = {
    "503": {"kind": "status", "status": 503},
    "500": {"kind": "status", "status": 500},
    "502 with a page": {"kind": "html", "status": 502},
    "429": {"kind": "status", "status": 429},
    "a closed connection": {"kind": "reset"},
    "half of an answer": {"kind": "cut"},
    "a page of another server": {"kind": "html", "status": 200},
    "garbage": {"kind": "garbage", "status": 200},
    "an empty answer": {"kind": "empty", "status": 200},
    "no answer": {"kind": "hang"},
    "a late answer": {"kind": "slow", "seconds": 0.3},
}


@pytest.mark.parametrize("path", ["/git/*/info/refs", "/git/*/git-upload-pack"])
@pytest.mark.parametrize("fault", TROUBLE)
def test_a_forge_in_trouble_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, repository: Repository, local: Forge, fault: str, path: str
) -> None:
    monkeypatch.setattr(mirror, "LISTING_SECONDS", 2.0)
    monkeypatch.setattr(mirror, "FETCH_SECONDS", 2.0)
    local.misbehave(**{"count": 1, "path": path, **TROUBLE[fault]})
    found = resolve(app_of(f"{local.url}/shop.git"), "main")
    assert found.revision == repository.git("rev-parse", "main")


@pytest.mark.parametrize("fault", ["503", "a closed connection", "no answer", "garbage", "half of an answer"])
def test_a_forge_that_stays_in_trouble_is_given_up_in_one_line(
    monkeypatch: pytest.MonkeyPatch, local: Forge, fault: str
) -> None:
    monkeypatch.setattr(mirror, "LISTING_SECONDS", 0.5)
    monkeypatch.setattr(forge, "PATIENCE_SECONDS", 1.0)
    local.misbehave(**TROUBLE[fault])
    with pytest.raises(RefError, match=r"shop\.git has been failing for \d s; its last error") as caught:
        resolve(app_of(f"{local.url}/shop.git"), "main")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "asks for a login"), (403, "returned error: 403"), (404, "not found")],
)
def test_a_refusal_is_not_asked_again(local: Forge, status: int, says: str) -> None:
    local.misbehave("status", status=status)
    with pytest.raises(RefError, match=rf"cannot read http\S+shop\.git: .*{says}"):
        resolve(app_of(f"{local.url}/shop.git"), "main")
    assert len(local.asked) == 1


def test_nothing_at_the_address_is_asked_again_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forge, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(RefError, match=r"has been failing.*Failed to connect|Connection refused"):
        resolve(app_of("http://127.0.0.1:9/shop.git"), "main")


def test_a_history_that_does_not_fit_is_refused_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, repository: Repository, local: Forge, tmp_path: Path
) -> None:
    (repository.path / "noise").write_bytes(os.urandom(300_000))
    repository.git("add", "noise")
    head = repository.commit()
    monkeypatch.setattr(git, "LARGEST_FILE", 100_000)
    url = f"{local.url}/shop.git"
    with pytest.raises(RefError, match=r"larger than"):
        read(url, head, "noise")
    assert resolve(app_of(url), "main").revision == head
    assert [*mirror_of(tmp_path).glob("objects/pack/tmp_*")] == []


def damage(path: Path, how: str) -> None:
    """Damage a mirror as a full disk or a killed machine does."""
    packs = [*path.glob("objects/pack/*.pack")]
    if how == "a pack is gone":
        packs[0].unlink()
    elif how == "a pack is cut":
        packs[0].chmod(0o600)
        os.truncate(packs[0], 20)
    elif how == "its head is empty":
        (path / "HEAD").write_text("")
    elif how == "its refs are empty":
        (path / "packed-refs").write_text("")
        for ref in (path / "refs" / "heads").iterdir():
            ref.write_text("")
    elif how == "it is a file":
        subprocess.run(["rm", "-r", str(path)], check=True)
        path.write_text("")
    elif how == "a lock is left":
        (path / "packed-refs.lock").touch()
        (path / "refs/heads/main.lock").touch()
    elif how == "its configuration is another's":
        (path / "config").write_text('[core]\n\tsshCommand = "touch /tmp/x"\n\tbare = maybe\n')


@pytest.mark.parametrize(
    "how",
    [
        "a pack is gone",
        "a pack is cut",
        "its head is empty",
        "its refs are empty",
        "it is a file",
        "a lock is left",
        "its configuration is another's",
    ],
)
def test_a_damaged_mirror_is_rebuilt(repository: Repository, local: Forge, tmp_path: Path, how: str) -> None:
    app = app_of(f"{local.url}/shop.git")
    resolve(app, "main")
    damage(mirror_of(tmp_path), how)
    head = repository.commit(cpanfile="requires 'Moo';\n")
    assert resolve(app, "main").revision == head
    assert read(app.repository, head) == "requires 'Moo';\n"
    damage(mirror_of(tmp_path), how)
    # Nothing new on the forge: what is asked for is missing here only.
    assert resolve(app, repository.git("rev-parse", "main~1")).why == "branch main"


def test_runs_at_the_same_time_work_one_after_the_other(repository: Repository, local: Forge) -> None:
    app = app_of(f"{local.url}/shop.git")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(resolve(app, "main").revision)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [repository.git("rev-parse", "main")] * 6


def test_a_mirror_that_another_run_does_not_give_back_is_waited_for_and_then_named(
    monkeypatch: pytest.MonkeyPatch, repository: Repository, tmp_path: Path
) -> None:
    app = app_of(repository.url)
    resolve(app, "main")
    monkeypatch.setattr(cache, "LOCK_SECONDS", 0.2)
    with mirror_of(tmp_path).with_suffix(".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RefError, match="another run has been reading") as caught:
            resolve(app, "main")
        assert caught.value.transient
    resolve(app, "main")


def test_a_cache_that_others_may_write_to_is_refused(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "cache" / "repositories").mkdir(parents=True)
    (tmp_path / "cache" / "repositories").chmod(0o777)
    with pytest.raises(RefError, match=r"others may write to it.*BLUEGREEN_CACHE_DIR"):
        resolve(app_of(repository.url), "main")


def test_a_cache_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, repository: Repository
) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", "/proc/nothing")
    with pytest.raises(RefError, match=r"the cache /proc/nothing\S* cannot be used.*BLUEGREEN_CACHE_DIR"):
        resolve(app_of(repository.url), "main")


def test_mirrors_that_no_app_uses_any_more_are_removed(repository: Repository, tmp_path: Path) -> None:
    resolve(app_of(repository.url), "main")
    old = mirror_of(tmp_path)
    long_ago = time.time() - cache.UNUSED_SECONDS - 60
    os.utime(old.with_suffix(".lock"), (long_ago, long_ago))
    other = Repository(tmp_path / "other")
    other.commit()
    resolve(app_of(other.url), "main")
    assert not old.exists()


def test_no_program_and_no_setting_of_a_mirror_is_believed(repository: Repository, tmp_path: Path) -> None:
    app = app_of(repository.url)
    resolve(app, "main")
    hook = mirror_of(tmp_path) / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    repository.commit()
    resolve(app, "main")
    assert not (tmp_path / "ran").exists()


def test_a_program_that_a_killed_run_has_left_holds_the_mirror_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, repository: Repository
) -> None:
    """Two that write at the same time would damage it."""
    app, seen = app_of(repository.url), []
    original = git.run_git

    def spy(*arguments: str, **options: Any) -> git.Answer:
        seen.append(options.get("held"))
        return original(*arguments, **options)

    monkeypatch.setattr(mirror, "run_git", spy)
    resolve(app, "main")
    assert all(seen)


def test_the_commits_between_two_revisions_are_listed_as_one_line_each(repository: Repository) -> None:
    live = repository.git("rev-parse", "main")
    repository.git("commit", "-q", "--allow-empty", "-m", "new\u2028> 1234567 forged (Ann)\x1b[2J")
    new = repository.git("rev-parse", "main")
    [line] = commits_between(app_of(repository.url), live, new, 30)
    assert line == f"> {new[:7]} new?> 1234567 forged (Ann)?[2J (t)"
    [back] = commits_between(app_of(repository.url), new, live, 30)
    assert back.startswith(f"< {new[:7]}")


def test_git_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 3600 & sleep 3600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(git.GitTimeoutError, match=r"git status did not finish within 0\.3 s"):
        git.run_git("status", timeout=0.3)


def test_git_that_talks_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec yes\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(git, "LARGEST_ANSWER", 100_000)
    with pytest.raises(RefError, match="answers with more than"):
        git.run_git("status", timeout=30)


def test_git_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefError, match="git is not installed where Airflow runs its tasks"):
        git.run_git("status", timeout=5)
