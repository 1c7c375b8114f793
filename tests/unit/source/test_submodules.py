"""Sources with submodules."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from bluegreen.errors import BlueGreenError
from bluegreen.source import archive
from bluegreen.source.access import Access
from bluegreen.source.archive import Source, write_source
from bluegreen.source.needed import Needed
from sandbox.sample_repositories import build_submodules
from tests.unit.local_forge import Forge
from tests.unit.repositories import Repository

pytestmark = pytest.mark.usefixtures("cache")


def names(source: Source) -> list[str]:
    with tarfile.open(source.path) as tar:
        return tar.getnames()


def with_submodule(repository: Repository, path: str, url: str, revision: str, **files: str) -> str:
    """Commit a submodule without looking at its repository."""
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{revision},{path}")
    text = f'[submodule "lib"]\n\tpath = {path}\n\turl = "{url}"\n'
    return repository.commit(**{".gitmodules": text, **files})


def refused(url: str, revision: str, tmp_path: Path) -> str:
    """Return the one line that says why there is no source."""
    with pytest.raises(BlueGreenError) as caught:
        write_source(url, revision, tmp_path / "source.tar.gz")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_submodules_of_submodules_are_in_the_source(local: Forge, shop: Repository, tmp_path: Path) -> None:
    below = shop.path.parent / "below"
    below.mkdir()
    made = build_submodules(below)
    source = write_source(f"{local.url}/below/shop.git", made["shop"], tmp_path / "source.tar.gz")
    assert names(source) == [
        *(".gitmodules", "app.psgi", "vendor", "vendor/library"),
        *("vendor/library/.gitmodules", "vendor/library/assets"),
        *("vendor/library/lib", "vendor/library/lib/Library.pm", "vendor/library/assets/logo.svg"),
    ]
    assert [*source.trees] == ["", "vendor/library", "vendor/library/assets"]
    assert source.files == 5
    with tarfile.open(source.path) as tar:
        assert {one.mtime for one in tar} == {source.committed}
    again = write_source(f"{local.url}/below/shop.git", made["shop"], tmp_path / "again.tar.gz")
    assert again.sha256 == source.sha256


def test_a_submodule_that_export_ignore_leaves_out_is_not_fetched(
    local: Forge, shop: Repository, tmp_path: Path
) -> None:
    ignored = {".gitattributes": "tools/ export-ignore\n"}
    head = with_submodule(shop, "tools", "https://forge.invalid/tools", "ab" * 20, **ignored)
    source = write_source(f"{local.url}/shop.git", head, tmp_path / "source.tar.gz")
    assert names(source) == [".gitattributes", ".gitmodules"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/etc", "allowed are https://"),
        ("./../../../../etc", "leads above the host"),
        ("file:///srv/git/other.git", "allowed are https://"),
        ("ext::sh -c touch% /tmp/ran", "allowed are https://"),
        ("-uhttps://forge", "allowed are https://"),
        ("https://user:geheim@forge.example/lib", "a password or token does not belong in this file"),
    ],
)
def test_a_submodule_elsewhere_than_on_a_forge_is_refused(
    local: Forge, shop: Repository, tmp_path: Path, url: str, reason: str
) -> None:
    head = with_submodule(shop, "vendor/lib", url, "ab" * 20)
    line = refused(f"{local.url}/shop.git", head, tmp_path)
    assert line.startswith("the URL of the submodule vendor/lib in .gitmodules is not allowed: ")
    assert reason in line
    assert "geheim" not in line


def test_a_submodule_that_cannot_be_read_is_named(local: Forge, shop: Repository, tmp_path: Path) -> None:
    head = with_submodule(shop, "vendor/lib", "../nothing.git", "ab" * 20)
    url = f"{local.url}/shop.git"
    assert re.fullmatch(
        r"the submodule vendor/lib: cannot read http\S+/nothing\.git: .*not found.*",
        refused(url, head, tmp_path),
    )
    lib = Repository(shop.path.parent / "lib.git")
    lib.commit(**{"a": "x"})
    head = with_submodule(shop, "vendor/lib", "../lib.git", "ab" * 20)
    assert re.fullmatch(
        r"the submodule vendor/lib: http\S+/lib\.git does not have the commit abababababab; push it",
        refused(url, head, tmp_path),
    )


def test_a_commit_that_no_branch_of_the_submodule_has_is_fetched(
    local: Forge, shop: Repository, tmp_path: Path
) -> None:
    lib = Repository(shop.path.parent / "lib.git")
    lib.commit(**{"a": "x"})
    pinned = lib.commit(**{"b": "x"})
    lib.git("reset", "-q", "--hard", "HEAD~1")
    head = with_submodule(shop, "lib", "../lib.git", pinned)
    source = write_source(f"{local.url}/shop.git", head, tmp_path / "source.tar.gz")
    assert names(source) == [".gitmodules", "lib", "lib/a", "lib/b"]


def test_a_submodule_without_a_url_is_named(local: Forge, shop: Repository, tmp_path: Path) -> None:
    shop.git("update-index", "--add", "--cacheinfo", f"160000,{'ab' * 20},lib")
    url, head = f"{local.url}/shop.git", shop.commit()
    line = f"lib of {head[:12]} is a submodule without a URL in .gitmodules; add the URL there, or remove the"
    assert refused(url, head, tmp_path).startswith(line)
    head = shop.commit(**{".gitmodules": '[submodule "lib'})
    assert refused(url, head, tmp_path).startswith(f".gitmodules of {head[:12]} cannot be read: ")
    (shop.path / ".gitmodules").unlink()
    (shop.path / ".gitmodules").symlink_to("/etc/passwd")
    shop.git("add", ".gitmodules")
    head = shop.commit()
    assert refused(url, head, tmp_path) == f".gitmodules of {head[:12]} is a link; commit a file"


def test_an_app_in_a_submodule_is_looked_for_there(local: Forge, shop: Repository, tmp_path: Path) -> None:
    backend = Repository(shop.path.parent / "backend.git")
    files = {"app.psgi": "1", "cpanfile": "1", "cpanfile.snapshot": "s"}
    good = backend.commit(**files)
    hidden = backend.commit(**{".gitattributes": "cpanfile.snapshot export-ignore\n"})
    url, target = f"{local.url}/shop.git", tmp_path / "source.tar.gz"
    needed = Needed("backend", ("backend/app.psgi", "backend/cpanfile.snapshot"), ("backend/vendor/cache",))
    head = with_submodule(shop, "backend", "../backend.git", good)
    assert "backend/cpanfile.snapshot" in names(write_source(url, head, target, needed=needed))
    with pytest.raises(BlueGreenError) as missing:
        write_source(url, head, target, needed=Needed("backend/app"))
    assert str(missing.value) == (
        f"the submodule backend: there is no directory app in {good[:12]}; correct server.root, or commit it"
    )
    head = with_submodule(shop, "backend", "../backend.git", hidden)
    with pytest.raises(BlueGreenError) as left_out:
        write_source(url, head, target, needed=needed)
    assert str(left_out.value) == (
        "the submodule backend: .gitattributes keeps cpanfile.snapshot from the release; remove its "
        "export-ignore there"
    )


def test_a_repository_that_contains_itself_ends(local: Forge, shop: Repository, tmp_path: Path) -> None:
    head = shop.commit(**{"a": "x"})
    for _ in range(archive.DEEPEST_SUBMODULE):
        head = with_submodule(shop, "self", "../shop.git", head)
    url = f"{local.url}/shop.git"
    write_source(url, head, tmp_path / "source.tar.gz")
    head = with_submodule(shop, "self", "../shop.git", head)
    deep = "/".join(["self"] * (archive.DEEPEST_SUBMODULE + 1))
    assert refused(url, head, tmp_path) == (
        f"the submodule {deep} is too deep: submodules may have {archive.DEEPEST_SUBMODULE} levels"
    )


def test_the_number_of_submodules_has_a_bound(
    monkeypatch: pytest.MonkeyPatch, local: Forge, shop: Repository, tmp_path: Path
) -> None:
    monkeypatch.setattr(archive, "MOST_SUBMODULES", 2)
    pinned = shop.commit(**{"a": "x"})
    text = ""
    for name in ("one", "three", "two"):
        shop.git("update-index", "--add", "--cacheinfo", f"160000,{pinned},{name}")
        text += f'[submodule "{name}"]\n\tpath = {name}\n\turl = ../shop.git\n'
    head = shop.commit(**{".gitmodules": text})
    assert refused(f"{local.url}/shop.git", head, tmp_path) == (
        "the submodule two is one too many: a source may have 2"
    )


def test_what_one_connection_has_fetched_another_one_does_not_get_as_a_submodule(
    local: Forge, shop: Repository, tmp_path: Path
) -> None:
    secret = Repository(shop.path.parent / "secret.git")
    pinned = secret.commit(**{"key": "geheim"})
    url = f"{local.url}/secret.git"
    write_source(url, pinned, tmp_path / "secret.tar.gz", access=Access("theirs"))
    head = with_submodule(shop, "stolen", "../secret.git", pinned)
    write_source(f"{local.url}/shop.git", shop.commit(), tmp_path / "source.tar.gz", access=Access("theirs"))
    local.misbehave("status", status=403, path="/git/secret.git/*")
    with pytest.raises(BlueGreenError, match=r"the submodule stolen: cannot read http\S+: .* 403"):
        write_source(f"{local.url}/shop.git", head, tmp_path / "source.tar.gz", access=Access("mine"))
