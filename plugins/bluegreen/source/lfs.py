"""Git LFS: files whose content is kept beside the repository, fetched with git-lfs."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bluegreen.errors import RefError
from bluegreen.source.addresses import check_address
from bluegreen.source.forge import ForgeError
from bluegreen.source.mirror import Mirror
from bluegreen.source.tree import Entry, check_text

CONFIG = ".lfsconfig"
# Bytes; git-lfs itself takes nothing longer for a pointer.
LONGEST_POINTER = 1024
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n?"
)
# Objects are made without a name, for a commit that only this mirror has.
_NOBODY = {
    f"GIT_{who}_{key}": value
    for who in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "bluegreen"), ("EMAIL", "bluegreen"), ("DATE", "@0 +0000"))
}


@dataclass(frozen=True)
class Pointer:
    """What git has instead of a file: the SHA-256 of its content, and its size in bytes."""

    sha256: str
    size: int


def pointers_in(archive: Path, paths: Collection[str]) -> dict[str, Pointer]:
    """Return the pointers among these files of a tar; others were committed themselves."""
    found: dict[str, Pointer] = {}
    if not paths:
        return found
    with tarfile.open(archive, "r:", errorlevel=2) as tar:
        for member in tar:
            if member.name not in paths or not member.isreg() or member.size > LONGEST_POINTER:
                continue
            content = tar.extractfile(member)
            if content and (part := _POINTER.fullmatch(content.read())):
                found[member.name] = Pointer(part[1].decode(), int(part[2]))
    return found


def require_installed(paths: Collection[str], revision: str) -> None:
    """Make sure that Git LFS can be read here.

    :raises RefError: if it cannot; the text names a file.
    """
    if shutil.which("git-lfs") is None:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise RefError(
            f"{min(paths)}{more} of {revision[:12]} is in Git LFS, and git-lfs is not installed where "
            "Airflow runs its tasks; install it, or commit the content itself"
        )


def fetch_contents(
    mirror: Mirror,
    revision: str,
    pointers: Mapping[str, Pointer],
    entries: Mapping[str, Entry],
    directory: Path,
) -> dict[str, Path]:
    """Fetch the content of files in Git LFS.

    :param revision: the revision that they are in.
    :param pointers: by path.
    :param entries: those of the revision, by path.
    :param directory: where the contents are put, each named by its SHA-256.
    :return: the file with the content of each path.
    :raises RefError: if the repository's LFS refuses, or does not have one.
    """
    storage = mirror.path / "lfs"
    settings = [f"lfs.storage={storage}", "lfs.fetchinclude=", "lfs.fetchexclude="]
    if address := _address(mirror, revision, entries):
        settings.append(f"lfs.url={address}")
    options = [word for setting in settings for word in ("-c", setting)]
    commit = _commit_of(mirror, pointers, entries)
    try:
        mirror.ask(*options, "lfs", "fetch", "origin", commit)
    except ForgeError as error:
        paths = (path for path, pointer in pointers.items() if pointer.sha256 in str(error))
        raise ForgeError(f"{next(paths, min(pointers))} is in Git LFS: {error}") from None
    directory.mkdir(exist_ok=True)
    found = {}
    for path, pointer in pointers.items():
        oid = pointer.sha256
        stored, found[path] = storage / "objects" / oid[:2] / oid[2:4] / oid, directory / oid
        if not stored.is_file() or stored.stat().st_size != pointer.size:
            raise RefError(
                f"Git LFS of {mirror.repository} does not have {path} ({oid[:12]}); run git lfs push --all"
            )
        shutil.copyfile(stored, found[path])
        with found[path].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != oid:
                stored.unlink()
                raise RefError(f"Git LFS of {mirror.repository} has sent another {path} than {oid[:12]}")
    return found


def _address(mirror: Mirror, revision: str, entries: Mapping[str, Entry]) -> str | None:
    """Return the address of the LFS server if ``.lfsconfig`` names one."""
    file = entries.get(CONFIG)
    if file is None or file.is_submodule:
        return None
    check_text(file, mirror.fetched(revision, [file.id])[file.id], revision)
    shown = mirror.run("config", f"--blob={file.id}", "-z", "--get", "lfs.url")
    if shown.status != 0:
        return None
    try:
        return check_address(shown.stdout.removesuffix("\0"))
    except ValueError as error:
        raise RefError(f"the address of the LFS server in {CONFIG} is not allowed: {error}") from None


def _commit_of(mirror: Mirror, pointers: Mapping[str, Pointer], entries: Mapping[str, Entry]) -> str:
    """Return a commit that has only these files: git-lfs reads every file of the commit that it is given."""
    index = {"GIT_INDEX_FILE": str(mirror.path / "lfs.index")}
    Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    wanted = "".join(f"{entries[path].mode} {entries[path].id}\t{path}\0" for path in pointers)
    mirror.require(mirror.run("update-index", "-z", "--index-info", stdin=wanted, environment=index))
    tree = mirror.run("write-tree", environment=index)
    mirror.require(tree)
    made = mirror.run("commit-tree", "-m", "LFS", tree.stdout.strip(), environment=_NOBODY)
    mirror.require(made)
    return made.stdout.strip()
