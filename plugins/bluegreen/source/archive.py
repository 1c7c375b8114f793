"""The source of a revision: its files, submodules and Git LFS included, as one deterministic tar."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from bluegreen.errors import RefError
from bluegreen.source.access import OWN_CONFIGURATION, Access
from bluegreen.source.cache import unusable
from bluegreen.source.export import LARGEST_SOURCE, LONGEST_TARGET, Export, Room, export
from bluegreen.source.needed import NOTHING, Needed
from bluegreen.source.submodules import Submodule

# Submodules of submodules count. A repository can contain an older commit of itself, and so on: the number of
# levels has a bound too.
MOST_SUBMODULES, DEEPEST_SUBMODULE = 50, 5
# Seconds since the epoch, until 2106. Git takes any number for a date, file systems do not.
LATEST_DATE = 2**32 - 1
# Of compression, as the program gzip has it. For Perl code, level 9 takes twice the time for 1 % less.
LEVEL = 6


@dataclass(frozen=True)
class Source:
    """The files of a revision in one ``tar.gz``, whose top is the repository's root.

    It has directories, files of mode 0644 or 0755, and symbolic links, all with the commit's date and without
    an owner. The same revision gives the same bytes, unless a file with ``export-subst`` asks for names of
    branches and tags.

    :param path: the file.
    :param revision: 40 hex digits.
    :param committed: date of the commit, in seconds since the epoch.
    :param trees: the revision's tree id by ``""``, and that of each submodule by its path.
    :param sha256: of the file, in hex digits.
    :param size: of the file, in bytes.
    :param files: number of files and links in it.
    :param unpacked: total size of its files, in bytes.
    """

    path: Path
    revision: str
    committed: int
    trees: dict[str, str]
    sha256: str
    size: int
    files: int
    unpacked: int


def write_source(
    repository: str,
    revision: str,
    target: Path,
    *,
    needed: Needed = NOTHING,
    access: Access = OWN_CONFIGURATION,
) -> Source:
    """Write the source of a revision to a file.

    Only files that the revision needs are fetched, and nothing of the repository runs.

    :param repository: URL of the repository.
    :param target: the file; it is there when it is complete.
    :param needed: what a deploy needs from it.
    :param access: the credentials for the repository and its submodules.
    :raises RefError: if there is no such source, or it cannot be read; the text says why in one line.
    """
    try:
        with TemporaryDirectory(prefix="parts-", dir=target.parent) as directory:
            parts = _Parts(Path(directory), access)
            own = parts.add(repository, revision, "", needed)
            committed = min(max(own.committed, 0), LATEST_DATE)
            written = Path(directory) / "source.tar.gz"
            files, unpacked = _write(written, parts.exports, committed)
            with written.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            written.replace(target)
            return Source(
                path=target,
                revision=revision,
                committed=committed,
                trees={path: part.tree for path, part in parts.exports.items()},
                sha256=sha256,
                size=target.stat().st_size,
                files=files,
                unpacked=unpacked,
            )
    except OSError as error:
        raise unusable(target.parent, error) from None


class _Parts:
    """The parts of a source, one of each repository.

    :param directory: where they are kept.
    """

    def __init__(self, directory: Path, access: Access) -> None:
        self.exports: dict[str, Export] = {}
        self._directory = directory
        self._access = access
        self._room = Room()

    def add(self, repository: str, revision: str, path: str, needed: Needed) -> Export:
        """Export a revision, and then its submodules: no two mirrors are locked at a time.

        :param path: its directory in the source; ``""`` for the app's own repository.
        :param needed: what a deploy needs from this repository.
        """
        own = self._directory / str(len(self.exports))
        own.mkdir()
        part = export(repository, revision, own, self._room, needed=needed, access=self._access)
        self.exports[path] = part
        self._room.take(part.files, part.size)
        for submodule in part.submodules:
            place = f"{path}/{submodule.path}" if path else submodule.path
            self._add_submodule(submodule, place, path, needed.below(submodule.path))
        return part

    def _add_submodule(self, submodule: Submodule, path: str, parent: str, needed: Needed) -> None:
        chain = [one for one in self.exports if parent == one or parent.startswith(f"{one}/") or not one]
        if len(chain) > DEEPEST_SUBMODULE:
            raise RefError(
                f"the submodule {path} is too deep: submodules may have {DEEPEST_SUBMODULE} levels"
            )
        if len(self.exports) > MOST_SUBMODULES:
            raise RefError(f"the submodule {path} is one too many: a source may have {MOST_SUBMODULES}")
        try:
            self.add(submodule.repository, submodule.revision, path, needed)
        except RefError as error:
            if str(error).startswith("the submodule "):
                raise
            raise type(error)(f"the submodule {path}: {error}") from None


def _write(target: Path, parts: dict[str, Export], committed: int) -> tuple[int, int]:
    """Write the parts as one tar; return how many files it has, and how many bytes these have."""
    files = unpacked = 0
    with (
        target.open("xb") as file,
        gzip.GzipFile("", "wb", LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, part in parts.items():
            for member, content in _members(part):
                clean = _clean(member, f"{path}/" if path else "", committed)
                if content is not None:
                    clean.size = content.seek(0, os.SEEK_END)
                    content.seek(0)
                files += not clean.isdir()
                unpacked += clean.size
                # Attributes such as export-subst can make a file larger than it is in the repository.
                if unpacked > LARGEST_SOURCE:
                    raise RefError(f"the source is too large: it may have {LARGEST_SOURCE // 2**20} MB")
                tar.addfile(clean, content)
    return files, unpacked


def _members(part: Export) -> Iterable[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the entries of a part, and the content of each file."""
    with tarfile.open(part.archive, "r:", errorlevel=2) as tar:
        for member in tar:
            if member.name in part.contents:
                with part.contents[member.name].open("rb") as content:
                    yield member, content
            else:
                yield member, tar.extractfile(member) if member.isreg() else None


def _clean(member: tarfile.TarInfo, prefix: str, committed: int) -> tarfile.TarInfo:
    """Return an entry with nothing but what a release has."""
    clean = tarfile.TarInfo(f"{prefix}{member.name}")
    clean.mtime = committed
    if member.isdir():
        clean.type, clean.mode = tarfile.DIRTYPE, 0o755
    elif member.issym():
        if len(member.linkname) > LONGEST_TARGET or not member.linkname.isprintable():
            raise RefError(f"the target of the link {clean.name} has control characters, or is not UTF-8")
        clean.type, clean.mode, clean.linkname = tarfile.SYMTYPE, 0o777, member.linkname
    elif member.isreg():
        clean.mode = 0o755 if member.mode & 0o100 else 0o644
    else:
        raise RefError(f"{clean.name} is neither a file nor a directory nor a link")
    return clean
