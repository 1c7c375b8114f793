"""Sources with files in Git LFS."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from bluegreen.errors import BlueGreenError
from bluegreen.source import export
from bluegreen.source.archive import Source, write_source
from sandbox.git_http import lfs_file
from sandbox.sample_repositories import LFS_CONTENT, LFS_PATH, build_lfs
from tests.unit.local_forge import Forge
from tests.unit.repositories import Repository

pytestmark = pytest.mark.usefixtures("cache")

needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


@pytest.fixture
def pictures(shop: Repository) -> Path:
    """Return the repository ``pictures.git`` of the forge."""
    build_lfs(shop.path.parent)
    return shop.path.parent / "pictures.git"


def head_of(repository: Path) -> str:
    return (repository / "packed-refs").read_text().split("\n")[1].partition(" ")[0]


def content(source: Source, path: str) -> bytes:
    with tarfile.open(source.path) as tar:
        file = tar.extractfile(path)
        assert file is not None
        return file.read()


def refused(url: str, revision: str, tmp_path: Path) -> str:
    with pytest.raises(BlueGreenError) as caught:
        write_source(url, revision, tmp_path / "source.tar.gz")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_git_lfs_a_file_is_named(
    monkeypatch: pytest.MonkeyPatch, local: Forge, pictures: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    head = head_of(pictures)
    assert refused(f"{local.url}/pictures.git", head, tmp_path) == (
        f"{LFS_PATH} of {head[:12]} is in Git LFS, and git-lfs is not installed where Airflow runs its tasks"
        "; install it, or commit the content itself"
    )


@pytest.mark.parametrize(
    "files",
    [
        {".gitattributes": ATTRIBUTES, "a.bin": "committed itself"},
        {"a.bin": POINTER.format("ab" * 32, 5)},
        {".gitattributes": ATTRIBUTES + "a.bin export-ignore\n", "a.bin": POINTER.format("ab" * 32, 5)},
    ],
)
def test_what_is_not_in_git_lfs_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, local: Forge, shop: Repository, tmp_path: Path, files: dict[str, str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    head = shop.commit(**files)
    write_source(f"{local.url}/shop.git", head, tmp_path / "source.tar.gz")


@needs_lfs
def test_the_content_is_in_the_source(local: Forge, pictures: Path, tmp_path: Path) -> None:
    url, head = f"{local.url}/pictures.git", head_of(pictures)
    source = write_source(url, head, tmp_path / "source.tar.gz")
    assert content(source, LFS_PATH) == LFS_CONTENT
    local.asked.clear()
    again = write_source(url, head, tmp_path / "again.tar.gz")
    assert again.sha256 == source.sha256
    assert local.asked == [], "what was fetched once is kept"


@needs_lfs
def test_a_forge_without_the_content_is_named(local: Forge, pictures: Path, tmp_path: Path) -> None:
    oid = hashlib.sha256(LFS_CONTENT).hexdigest()
    lfs_file(pictures, oid).unlink()
    url = f"{local.url}/pictures.git"
    assert refused(url, head_of(pictures), tmp_path).startswith(
        f"{LFS_PATH} is in Git LFS: cannot read {url}: [{oid}] Object does not exist"
    )


@needs_lfs
def test_content_of_another_digest_is_refused(local: Forge, pictures: Path, tmp_path: Path) -> None:
    file = lfs_file(pictures, hashlib.sha256(LFS_CONTENT).hexdigest())
    file.write_bytes(LFS_CONTENT[::-1])
    url = f"{local.url}/pictures.git"
    line = refused(url, head_of(pictures), tmp_path)
    assert line.startswith(f"{LFS_PATH} is in Git LFS: cannot read {url}: expected OID ")
    assert not (tmp_path / "source.tar.gz").exists()


@needs_lfs
def test_a_pointer_to_more_than_fits_is_refused_before_it_is_fetched(
    local: Forge, shop: Repository, tmp_path: Path
) -> None:
    head = shop.commit(**{".gitattributes": ATTRIBUTES, "a.bin": POINTER.format("ab" * 32, 10**14)})
    assert "is too large: a source may have" in refused(f"{local.url}/shop.git", head, tmp_path)
    assert export.LARGEST_SOURCE < 10**14
    assert not any("lfs" in one for one in local.asked)


@needs_lfs
@pytest.mark.parametrize("address", ["file:///srv/lfs", "/etc", "https://user:geheim@forge.example/lfs"])
def test_another_lfs_server_is_one_that_is_allowed(
    local: Forge, shop: Repository, tmp_path: Path, address: str
) -> None:
    files = {".gitattributes": ATTRIBUTES, "a.bin": POINTER.format("ab" * 32, 5)}
    head = shop.commit(**files, **{".lfsconfig": f"[lfs]\n\turl = {address}\n"})
    line = refused(f"{local.url}/shop.git", head, tmp_path)
    assert line.startswith("the address of the LFS server in .lfsconfig is not allowed: ")
    assert "geheim" not in line


@needs_lfs
def test_lfsconfig_names_another_server(
    local: Forge, pictures: Path, shop: Repository, tmp_path: Path
) -> None:
    oid = hashlib.sha256(LFS_CONTENT).hexdigest()
    files = {".gitattributes": ATTRIBUTES, "a.bin": POINTER.format(oid, len(LFS_CONTENT))}
    config = f"[lfs]\n\turl = {local.url}/pictures.git/info/lfs\n"
    source = write_source(
        f"{local.url}/shop.git", shop.commit(**files, **{".lfsconfig": config}), tmp_path / "source.tar.gz"
    )
    assert content(source, "a.bin") == LFS_CONTENT


@needs_lfs
@pytest.mark.parametrize("branch", ["main", "master"])
def test_the_lfsconfig_of_another_branch_does_not_count(
    local: Forge, pictures: Path, shop: Repository, tmp_path: Path, branch: str
) -> None:
    oid = hashlib.sha256(LFS_CONTENT).hexdigest()
    head = shop.commit(**{".gitattributes": ATTRIBUTES, "a.bin": POINTER.format(oid, len(LFS_CONTENT))})
    shop.git("checkout", "-q", "-b", "deployed")
    shop.git("checkout", "-q", "-B", branch)
    shop.git("rm", "-q", "a.bin")
    other = shop.commit(**{".lfsconfig": f"[lfs]\n\turl = {local.url}/pictures.git/info/lfs\n"})
    # So that the mirror has the file.
    write_source(f"{local.url}/shop.git", other, tmp_path / "other.tar.gz")
    assert "does not exist" in refused(f"{local.url}/shop.git", head, tmp_path)
