"""The files of a revision as git lists them; names that no release can have are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bluegreen.errors import RefError
from bluegreen.source.mirror import Mirror

# Git's modes of tree entries.
LINK, SUBMODULE = "120000", "160000"

# Linux's source, larger than any application's, has about 90,000 files.
MOST_FILES = 100_000
# Bytes; Linux refuses more than 255 in a name, and 4,096 in a path, which the release's directory is part of.
LONGEST_NAME, LONGEST_PATH = 255, 3000
# Bytes of a file that git is asked to read, such as .gitattributes; genuine ones have some thousand.
LARGEST_TEXT = 4 * 2**20
# Levels of directories. Nested packages of npm, the deepest trees that applications have, stay below.
DEEPEST = 50


@dataclass(frozen=True)
class Entry:
    """A file, link or submodule of a revision.

    :param mode: git's, for example :data:`LINK`.
    :param id: of its content; a submodule's commit.
    :param path: from the repository's root.
    """

    mode: str
    id: str
    path: str

    @property
    def is_submodule(self) -> bool:
        """Whether it stands for a commit of another repository."""
        return self.mode == SUBMODULE

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == LINK

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


def entries_of(mirror: Mirror, revision: str) -> list[Entry]:
    """Return all files, links and submodules of a revision.

    :raises RefError: if there are more than :data:`MOST_FILES`, or one has a name that is not usable.
    """
    shown = mirror.git("ls-tree", "-r", "-z", "--full-tree", revision)
    found = []
    for line in shown.split("\0")[:-1]:
        about, _, path = line.partition("\t")
        mode, _, content = about.split(" ")
        found.append(Entry(mode, content, path))
    if len(found) > MOST_FILES:
        raise RefError(
            f"{revision[:12]} of {mirror.repository} has {len(found)} files, and a source may have "
            f"{MOST_FILES}"
        )
    _check_paths([entry.path for entry in found], revision)
    return found


def check_text(entry: Entry, size: int, revision: str) -> None:
    """Make sure that a file is small enough to be read.

    :raises RefError: if it is not.
    """
    if size > LARGEST_TEXT:
        raise RefError(
            f"{entry.path} of {revision[:12]} has {size} bytes, and not more than {LARGEST_TEXT} are read"
        )


def parents_of(path: str) -> list[str]:
    """Return the directories that a path is in, without the repository's root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def is_below(path: str, directory: str) -> bool:
    """Whether a path is the given one, or in the directory of that name."""
    return path == directory or path.startswith(f"{directory}/")


def _check_paths(paths: Sequence[str], revision: str) -> None:
    """Make sure that files with these paths can be in a release together.

    Git never writes such trees itself; whoever pushes can.
    """
    refusal = f"{revision[:12]} cannot be deployed"
    directories: set[str] = set()
    for path in paths:
        if problem := _problem(path):
            raise RefError(f"{refusal}: {path[:200]!a} {problem}")
        directories.update(parents_of(path))
        if len(directories) > MOST_FILES:
            raise RefError(f"{refusal}: it has more than {MOST_FILES} directories")
    files = set(paths)
    if len(files) < len(paths):
        raise RefError(f"{refusal}: its tree has two files of one name")
    if both := files & directories:
        raise RefError(f"{refusal}: in its tree {min(both)!a} is a file and a directory")


def _problem(path: str) -> str | None:
    parts = path.split("/")
    # What is not UTF-8 was replaced when git's answer was read.
    if "\ufffd" in path:
        return "is a name that is not UTF-8; rename the file"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "has a control character in its name; rename the file"
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        return "is a path that git itself refuses to check out"
    if len(path.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in parts):
        return f"is too long; a name may have {LONGEST_NAME} bytes, a path {LONGEST_PATH}"
    if len(parts) > DEEPEST + 1:
        return f"is too deep; a path may have {DEEPEST} directories"
    return None
