"""The examples for frameworks and servers: app files that can be used, and repositories to deploy from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from sandbox.examples import NAMES, build_repositories

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("repositories")
    build_repositories(directory)
    return directory


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    ).stdout


def app_of(name: str, directory: Path) -> App:
    """Return the settings of an example whose app file was copied as its first line says."""
    shutil.copyfile(EXAMPLES / name / "bluegreen.yaml", directory / f"{name}.yaml")
    return load_app(name, directory)


@pytest.mark.parametrize("name", NAMES)
def test_the_app_file_of_an_example_is_valid_where_it_says_to_copy_it(name: str, tmp_path: Path) -> None:
    assert f"include/apps/{name}.yaml" in (EXAMPLES / name / "bluegreen.yaml").read_text()
    app = app_of(name, tmp_path)
    assert app.fleet.tags.app == f"app:{name}"
    assert app.repository.endswith(f"/{name}.git")


@pytest.mark.parametrize("name", NAMES)
def test_the_file_that_starts_an_example_is_in_its_repository(
    name: str, tmp_path: Path, repositories: Path
) -> None:
    app = app_of(name, tmp_path)
    assert (
        app.server.started_from
        in git(repositories / f"{name}.git", "ls-tree", "-r", "--name-only", "v1").split()
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_two_releases_that_name_themselves(name: str, repositories: Path) -> None:
    repository = repositories / f"{name}.git"
    refs = dict(line.split()[::-1] for line in git(repository, "show-ref").splitlines())
    assert set(refs) == {"refs/heads/main", "refs/tags/v1", "refs/tags/v2"}
    assert refs["refs/heads/main"] == refs["refs/tags/v2"] != refs["refs/tags/v1"]
    for tag in ("v1", "v2"):
        [file] = [
            path
            for path in git(repository, "ls-tree", "-r", "--name-only", tag).split()
            if "Release.pm" in path
        ]
        assert f"our $NAME = '{tag}';" in git(repository, "show", f"{tag}:{file}")


def test_commits_of_the_examples_are_the_same_every_time(tmp_path: Path, repositories: Path) -> None:
    assert build_repositories(repositories) == build_repositories(tmp_path)


@pytest.mark.parametrize(
    ("name", "output"),
    [("mojolicious_chat", "public/assets/"), ("catalyst_shop", "catalogue.db"), ("cgi_guestbook", "data/")],
)
def test_what_an_example_makes_is_not_in_its_repository(name: str, output: str, repositories: Path) -> None:
    files = git(repositories / f"{name}.git", "ls-tree", "-r", "--name-only", "v2").split()
    assert [file for file in files if file.startswith(output)] == []


def test_the_shop_carries_the_tarball_that_its_snapshot_names(repositories: Path) -> None:
    repository = repositories / "catalyst_shop.git"
    snapshot = git(repository, "show", "v2:cpanfile.snapshot")
    assert "String::CRC32 2.100" in snapshot
    pathname = next(line.split()[1] for line in snapshot.splitlines() if "pathname:" in line)
    assert git(repository, "cat-file", "-s", f"v2:vendor/cache/authors/id/{pathname}").strip() == "7995"


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_the_example_that_needs_only_plack_passes_its_own_tests(
    tag: str, repositories: Path, tmp_path: Path
) -> None:
    """The sandbox's droplets run the tests of all examples."""
    git(tmp_path, "clone", "--quiet", "--branch", tag, str(repositories / "plack_starlet.git"), "clone")
    proved = subprocess.run(
        ["prove", "--lib", "t"], cwd=tmp_path / "clone", capture_output=True, text=True, check=False
    )
    assert proved.returncode == 0, proved.stdout + proved.stderr
