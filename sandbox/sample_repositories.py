"""Repositories whose source is more than one tree of files: submodules, and objects of Git LFS."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from sandbox.example_repository import run_git
from sandbox.git_http import lfs_file

COMMITTED = 1_767_600_000
LFS_CONTENT = bytes(range(256)) * 64
LFS_PATH = "public/logo.bin"


def build_submodules(directory: Path) -> dict[str, str]:
    """Create ``shop.git``, whose ``vendor/library`` is ``library.git``, whose ``assets`` is ``assets.git``.

    The addresses of the submodules are relative, so they are read the way ``shop.git`` is.

    :param directory: of bare repositories; repositories that exist are left alone.
    :return: the revision of each of the three.
    """
    revisions = {"assets": _repository(directory / "assets.git", {"logo.svg": "<svg/>\n"}, {})}
    revisions["library"] = _repository(
        directory / "library.git",
        {"lib/Library.pm": "package Library;\nour $VERSION = '1';\n1;\n"},
        {"assets": ("../assets.git", revisions["assets"])},
    )
    revisions["shop"] = _repository(
        directory / "shop.git",
        {"app.psgi": "sub { [200, [], ['shop']] };\n"},
        {"vendor/library": ("../library.git", revisions["library"])},
    )
    return revisions


def build_lfs(directory: Path) -> str:
    """Create ``pictures.git``, in which ``public/logo.bin`` is a pointer of Git LFS, and store the object.

    :param directory: of bare repositories; a repository that exists is left alone.
    :return: the revision.
    """
    identifier = hashlib.sha256(LFS_CONTENT).hexdigest()
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{identifier}\nsize {len(LFS_CONTENT)}\n"
    )
    bare = directory / "pictures.git"
    revision = _repository(
        bare,
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "app.psgi": "sub { [200, [], ['pictures']] };\n",
            LFS_PATH: pointer,
        },
        {},
    )
    stored = lfs_file(bare, identifier)
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(LFS_CONTENT)
    return revision


def _repository(bare: Path, files: dict[str, str], submodules: dict[str, tuple[str, str]]) -> str:
    """Make a repository of one commit on ``main``; return its revision.

    :param submodules: by path: the address as ``.gitmodules`` has it, and the revision.
    """
    if bare.exists():
        return run_git(bare, "rev-parse", "main")
    if submodules:
        sections = (
            f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in submodules.items()
        )
        files = {**files, ".gitmodules": "".join(sections)}
    with tempfile.TemporaryDirectory(prefix=f".{bare.name}.", dir=bare.parent) as made:
        work, new = Path(made, "work"), Path(made, "bare.git")
        for path, text in files.items():
            file = work / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        run_git(work, "init", "--quiet", "--initial-branch=main")
        # No filter of the machine's own git, such as that of Git LFS, may change what is committed.
        for path in files:
            written = run_git(work, "hash-object", "-w", "--no-filters", "--", path)
            run_git(work, "update-index", "--add", "--cacheinfo", f"100644,{written},{path}")
        for path, (_, revision) in submodules.items():
            run_git(work, "update-index", "--add", "--cacheinfo", f"160000,{revision},{path}")
        run_git(work, "commit", "--quiet", "--no-verify", "--message", "First", seconds=COMMITTED)
        run_git(work, "clone", "--quiet", "--bare", ".", str(new))
        new.rename(bare)
    return run_git(bare, "rev-parse", "main")
