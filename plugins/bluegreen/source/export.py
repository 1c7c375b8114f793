"""One repository's part of a source: what ``git archive`` makes of a revision, and what Git LFS adds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bluegreen.errors import RefError
from bluegreen.source.access import Access
from bluegreen.source.attributes import ATTRIBUTES, attributes_of
from bluegreen.source.git import LARGEST_MEMORY
from bluegreen.source.lfs import fetch_contents, pointers_in, require_installed
from bluegreen.source.mirror import Mirror, with_mirror
from bluegreen.source.needed import Needed
from bluegreen.source.submodules import Submodule, submodules_of
from bluegreen.source.tree import MOST_FILES, entries_of

# Bytes, unpacked. A builder has the files of a source four times for a while: sent, built, inspected, packed.
# The smallest droplet has a disk of 10 GB.
LARGEST_SOURCE = 2 * 2**30
# Bytes; Linux's limit of a link's target.
LONGEST_TARGET = 4095
ARCHIVE_SECONDS = 600.0

# Settings of Airflow's user must not change a revision's files, nor start a filter for them.
_NO_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
}
# The mirror is fetched without files, and `git archive` would fetch all files of such a repository, also
# those that it leaves out. So it reads another one, with the same objects. `$Format:…$` can ask for a
# signature and for names from a mailmap: no program is started for the former, and the latter is not read.
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\tbigFileThreshold = 1m
\tattributesFile = /dev/null
[gpg]
\tprogram = false
[gpg "x509"]
\tprogram = false
[gpg "ssh"]
\tprogram = false
[mailmap]
\tblob = none
"""


@dataclass
class Room:
    """How much more a source may have.

    :param files: how many files.
    :param size: how many bytes.
    """

    files: int = MOST_FILES
    size: int = LARGEST_SOURCE

    def require(self, files: int, size: int, whose: str) -> None:
        """Make sure that so much more fits.

        :param whose: the repository and revision that it belongs to.
        :raises RefError: if it does not; the text names the bound.
        """
        if files > self.files:
            raise RefError(f"{whose} has too many files: a source may have {MOST_FILES}{_ADVICE}")
        if size > self.size:
            raise RefError(f"{whose} is too large: a source may have {LARGEST_SOURCE // 2**20} MB{_ADVICE}")

    def take(self, files: int, size: int) -> None:
        """Count what a source has got."""
        self.files -= files
        self.size -= size


_ADVICE = f"; export-ignore in {ATTRIBUTES} keeps from it what a deploy does not need"


@dataclass(frozen=True)
class Export:
    """A revision's part of a source.

    :param tree: its tree's id.
    :param committed: date of its commit, in seconds since the epoch.
    :param archive: a tar of it.
    :param files: number of files and links in it.
    :param size: of all files in bytes.
    :param submodules: those that belong into it.
    :param contents: files with the content of paths that are in Git LFS.
    """

    tree: str
    committed: int
    archive: Path
    files: int
    size: int
    submodules: Sequence[Submodule]
    contents: dict[str, Path]


def export(
    repository: str,
    revision: str,
    directory: Path,
    room: Room,
    *,
    needed: Needed,
    access: Access,
) -> Export:
    """Export a revision of a repository.

    :param directory: an empty directory for what is made.
    :param room: how much it may have; it is not reduced.
    :param needed: what a deploy needs from it.
    :raises RefError: if it cannot be exported; the text says why in one line.
    """

    def work(mirror: Mirror) -> Export:
        if not mirror.has(revision) and not mirror.keep(f"source/{revision}", revision):
            raise RefError(f"{repository} does not have the commit {revision[:12]}; push it")
        return _export(mirror, revision, directory, room, needed)

    return with_mirror(repository, work, commits=(revision,), access=access)


def _export(mirror: Mirror, revision: str, directory: Path, room: Room, needed: Needed) -> Export:
    whose = f"{revision[:12]} of {mirror.repository}"
    committed = entries_of(mirror, revision)
    attributes = attributes_of(mirror, revision, committed)
    entries = [entry for entry in committed if entry.path not in attributes.left_out]
    needed.check(revision, committed, attributes.left_out)
    files = [entry for entry in entries if not entry.is_submodule]
    room.require(len(files), 0, whose)
    sizes = mirror.fetched(revision, (entry.id for entry in files))
    for entry in files:
        if entry.is_link and sizes[entry.id] > LONGEST_TARGET:
            raise RefError(f"{whose}: the target of the link {entry.path} has {sizes[entry.id]} bytes")
    size = sum(sizes[entry.id] for entry in files)
    room.require(len(files), size, whose)
    submodules = submodules_of(mirror, revision, entries)
    archive = directory / "archive.tar"
    _archive(mirror, revision, archive, whose)
    pointers = pointers_in(archive, attributes.lfs)
    contents = {}
    if pointers:
        require_installed(pointers, revision)
        size += sum(pointer.size for pointer in pointers.values())
        room.require(len(files), size, whose)
        by_path = {entry.path: entry for entry in entries}
        contents = fetch_contents(mirror, revision, pointers, by_path, directory / "lfs")
    return Export(
        tree=mirror.git("rev-parse", "--verify", f"{revision}^{{tree}}").strip(),
        committed=mirror.committed(revision),
        archive=archive,
        files=len(files),
        size=size,
        submodules=submodules,
        contents=contents,
    )


def _archive(mirror: Mirror, revision: str, archive: Path, whose: str) -> None:
    plain = archive.parent / "plain.git"
    shutil.rmtree(plain, ignore_errors=True)
    plain.mkdir()
    (plain / "config").write_text(_CONFIG, encoding="utf-8")
    (plain / "HEAD").write_text("ref: refs/heads/none\n", encoding="utf-8")
    for shared in ("objects", "refs", "packed-refs"):
        (plain / shared).symlink_to(mirror.path.absolute() / shared)
    made = mirror.run(
        *("archive", "--format=tar", f"--output={archive}", revision),
        timeout=ARCHIVE_SECONDS,
        environment=_NO_SETTINGS,
        directory=plain,
    )
    if "ut of memory" in made.stderr:
        raise RefError(
            f"{whose} needs more than {LARGEST_MEMORY // 2**20} MB of memory: a file with an attribute such "
            f"as export-subst in {ATTRIBUTES} is too large"
        )
    if "File too large" in made.stderr:
        raise RefError(f"{whose} is too large: its files grow by an attribute in {ATTRIBUTES}")
    mirror.require(made)
