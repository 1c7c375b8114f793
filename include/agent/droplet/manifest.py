"""The manifest of a release: what is in it, byte for byte. The SHA-256 of its bytes is the release's digest.

It is UTF-8 text, a JSON value in each line. The first is an object: ``format``, ``app`` (the app's name on
droplets), ``revision``, ``committed`` (the commit's date, which every file gets) and ``perl`` (see
:mod:`agent.droplet.perl_key`). Then comes an array for each entry but the manifest itself, sorted by path:
``["d", path]``, ``["f", path, sha256, size, executable]`` or ``["l", path, target]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.droplet.links import may_be_linked_to, refusal
from agent.droplet.tree import check_time, sha256_of, target_of, walk
from agent.protocol import AgentError, Code
from agent.release_name import DIGEST, release_name

FORMAT = 1
# Where it is in a release.
PLACE = ".bluegreen/manifest"
# Bounds of a release: entries, bytes of all files, bytes of the manifest and of one path.
MOST_ENTRIES = 300_000
MOST_BYTES = 8 << 30
LARGEST = 64 << 20
LONGEST_PATH = 3500
# Of a link: Linux has no longer ones. How far a link leads is found out step by step.
LONGEST_TARGET = 4095
DIRECTORY, FILE, LINK = "d", "f", "l"
MODES = {DIRECTORY: 0o755, FILE: 0o644, LINK: 0o777}
_NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Entry:
    """Something in a release.

    :param kind: ``d``, ``f`` or ``l``.
    :param path: below the release, with slashes.
    :param sha256: of a file, in hexadecimal digits.
    :param size: of a file, in bytes.
    :param target: of a link.
    """

    kind: str
    path: str
    sha256: str = ""
    size: int = 0
    executable: bool = False
    target: str = ""

    @property
    def mode(self) -> int:
        """Its permissions on a droplet."""
        return 0o755 if self.executable else MODES[self.kind]

    def line(self) -> bytes:
        """Return its line in the manifest."""
        if self.kind == FILE:
            return _line([FILE, self.path, self.sha256, self.size, self.executable])
        return _line([self.kind, self.path, self.target] if self.kind == LINK else [self.kind, self.path])


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been checked.

    :param committed: seconds since the epoch.
    """

    app: str
    revision: str
    committed: int
    perl: str
    entries: tuple[Entry, ...]

    @property
    def data(self) -> bytes:
        """Its bytes."""
        about = {
            "format": FORMAT,
            "app": self.app,
            "revision": self.revision,
            "committed": self.committed,
            "perl": self.perl,
        }
        return b"".join([_line(about), *(entry.line() for entry in self.entries)])

    @property
    def digest(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def release(self) -> str:
        """The name of the release."""
        return release_name(self.revision, self.digest)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)


def scan(directory: Path) -> tuple[Entry, ...]:
    """Return what is in a release, without its manifest, in the manifest's order; nobody writes there.

    :raises AgentError: with the code ``failed`` if something cannot be in a release.
    """
    entries = []
    for path, about in walk(directory):
        if path != PLACE:
            entries.append(_entry(directory, path, about))
        if len(entries) > MOST_ENTRIES:
            raise refused(f"it has more than {MOST_ENTRIES} files")
    return tuple(sorted(entries, key=lambda entry: entry.path))


def parse(data: bytes, app: str) -> Manifest:
    """Return the manifest that some bytes are, checked so that it can be unpacked or compared safely.

    :param app: the app that it has to be of.
    :raises AgentError: with the code ``failed``.
    """
    if len(data) > LARGEST:
        raise refused(f"its manifest is larger than {LARGEST >> 20} MB")
    first, *lines = data.splitlines(keepends=True) or [b""]
    if len(lines) > MOST_ENTRIES:
        raise refused(f"it has more than {MOST_ENTRIES} files")
    try:
        about = json.loads(first)
        entries = tuple(_parsed(json.loads(line)) for line in lines)
        if about["format"] != FORMAT:
            raise refused(
                f"its manifest has the format {about['format']!r:.20}, which this agent cannot read"
            )
        manifest = Manifest(about["app"], about["revision"], about["committed"], about["perl"], entries)
        same = manifest.data == data
    except (KeyError, TypeError, ValueError, RecursionError):
        raise refused("its manifest cannot be read") from None
    if not same:
        raise refused("its manifest cannot be read")
    _check_header(manifest, app)
    _check_entries(manifest)
    return manifest


def read(directory: Path) -> bytes:
    """Return the manifest's bytes from a release.

    :raises OSError: if they cannot be read.
    """
    descriptor = os.open(directory / PLACE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no file")
        return file.read(LARGEST + 1)


def verify(directory: Path, app: str, digest: str) -> Manifest:
    """Make sure that a release is byte for byte what was built, and return its manifest.

    :raises AgentError: with the code ``failed``, naming the first difference.
    """
    if difference := first_difference(directory, app, digest):
        raise refused(difference)
    return parse(read(directory), app)


def first_difference(directory: Path, app: str, digest: str, end: float | None = None) -> str | None:
    """Return the first difference between a release and its manifest, as a line; None if there is none.

    See :func:`differences`.
    """
    for path, what in differences(directory, app, digest, end):
        return f"{path or 'its manifest'}: {what}"
    return None


def differences(
    directory: Path, app: str, digest: str, end: float | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what in a release is not as its manifest says: the path, and what is wrong, in order.

    It runs as any user who may read the release. The path is empty for the manifest itself; without a whole
    manifest nothing else is compared.

    :param digest: the manifest's, or how that begins.
    :param end: the moment, in seconds since the boot, at which the comparison has to be over.
    :raises TimeoutError: if it is not over by then.
    """
    try:
        data = read(directory)
    except FileNotFoundError:
        yield "", "it is not there"
        return
    except OSError as error:
        yield "", f"it cannot be read: {error.strerror or error}"
        return
    found = hashlib.sha256(data).hexdigest()
    if not digest or not found.startswith(digest):
        yield "", f"its digest is {found[:16]} instead of {digest[:16]}"
        return
    try:
        manifest = parse(data, app)
    except AgentError as error:
        yield "", str(error)
        return
    yield from _compared(directory, manifest, end)


def _compared(directory: Path, manifest: Manifest, end: float | None) -> Iterator[tuple[str, str]]:
    expected = {entry.path: entry for entry in manifest.entries}
    expected[PLACE] = Entry(FILE, PLACE, manifest.digest, len(manifest.data))
    present: dict[str, os.stat_result] = {}
    try:
        for path, about in walk(directory):
            check_time(end)
            present[path] = about
            # Enough to name what was added; the rest of it would only fill memory.
            if len(present) > MOST_ENTRIES + 1000:
                break
    except TimeoutError:
        raise
    except OSError as error:
        name = os.path.relpath(error.filename or directory, directory)
        yield name, f"it cannot be read: {error.strerror}"
        return
    owner = directory.lstat().st_uid
    for path in sorted({*expected, *present}):
        check_time(end)
        what = _difference(directory, expected.get(path), path, present.get(path), owner, end)
        if what:
            yield path, what


def _difference(
    directory: Path,
    entry: Entry | None,
    path: str,
    about: os.stat_result | None,
    owner: int,
    end: float | None,
) -> str:
    if entry is None:
        return "it was added"
    if about is None:
        return "it is not there"
    if _kind(about) != entry.kind:
        return "it is not as it was built"
    if about.st_uid != owner:
        return f"its owner is the user {about.st_uid} instead of {owner}"
    mode = stat.S_IMODE(about.st_mode)
    if entry.kind != LINK and mode != entry.mode:
        return f"its mode is {mode:o} instead of {entry.mode:o}"
    try:
        if entry.kind == LINK:
            same = target_of(directory / path) == entry.target
        elif entry.kind == FILE:
            same = about.st_size == entry.size and sha256_of(directory / path, end) == entry.sha256
        else:
            same = True
    except TimeoutError:
        raise
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "" if same else "it is not as it was built"


def refused(why: str) -> AgentError:
    """Return the refusal of a release."""
    return AgentError(Code.FAILED, f"the release is refused: {why}")


def shown(text: str) -> str:
    """Return a path for people: what cannot be printed in it is replaced."""
    return re.sub(r"[^ -~]", "?", text)[:300]


def _line(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _kind(about: os.stat_result) -> str:
    kinds = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}
    return kinds.get(stat.S_IFMT(about.st_mode), "")


def _entry(directory: Path, path: str, about: os.stat_result) -> Entry:
    kind = _kind(about)
    if kind == LINK:
        return Entry(LINK, path, target=target_of(directory / path))
    if kind == DIRECTORY:
        return Entry(DIRECTORY, path)
    if kind != FILE:
        raise refused(f"{shown(path)} is a device, a pipe or a socket")
    executable = bool(about.st_mode & stat.S_IXUSR)
    return Entry(FILE, path, sha256_of(directory / path), about.st_size, executable)


def _parsed(value: Any) -> Entry:
    """Return an entry.

    :raises TypeError: or ``ValueError``, if the value is none.
    """
    kind, path, *rest = value
    if not isinstance(path, str):
        raise TypeError(path)
    if kind == DIRECTORY:
        () = rest
        return Entry(DIRECTORY, path)
    if kind == LINK:
        (target,) = rest
        if not isinstance(target, str) or not _NO_CONTROL.fullmatch(target) or len(target) > LONGEST_TARGET:
            raise ValueError(target)
        return Entry(LINK, path, target=target)
    if kind == FILE:
        sha256, size, executable = rest
        return Entry(FILE, path, sha256, size, executable)
    raise ValueError(kind)


def _check_header(manifest: Manifest, app: str) -> None:
    if manifest.app != app:
        raise refused(f"it is of {shown(str(manifest.app))}, not of {app}")
    if not isinstance(manifest.revision, str) or not re.fullmatch("[0-9a-f]{40}", manifest.revision):
        raise refused("its manifest names no revision")
    if type(manifest.committed) is not int or not 0 <= manifest.committed < 1 << 33:
        raise refused("its manifest has no date")
    if not isinstance(manifest.perl, str) or len(manifest.perl) > 500:
        raise refused("its manifest names no perl")


def _check_entries(manifest: Manifest) -> None:
    before, directories, total = "", {""}, 0
    links = {entry.path: entry.target for entry in manifest.entries if entry.kind == LINK}
    for entry in manifest.entries:
        check_path(entry.path)
        if entry.path <= before or entry.path == PLACE:
            raise refused(f"{shown(entry.path)} is not in its place in the manifest")
        if entry.path.rpartition("/")[0] not in directories:
            raise refused(f"{shown(entry.path)} is in no directory of it")
        before = entry.path
        if entry.kind == DIRECTORY:
            directories.add(entry.path)
        elif entry.kind == FILE:
            _check_file(entry)
            total += entry.size
    if PLACE.rpartition("/")[0] not in directories:
        raise refused("its manifest has no place in it")
    if total > MOST_BYTES:
        raise refused(f"it is larger than {MOST_BYTES >> 30} GB")
    allowed = {target for target in links.values() if may_be_linked_to(manifest.app, target)}
    for path in links:
        if why := refusal(path, links, allowed):
            raise refused(f"{shown(path)} {shown(why)}")


def _check_file(entry: Entry) -> None:
    is_good = isinstance(entry.sha256, str) and bool(re.fullmatch(DIGEST, entry.sha256))
    is_good = is_good and type(entry.size) is int and 0 <= entry.size <= MOST_BYTES
    if not is_good or type(entry.executable) is not bool:
        raise refused(f"{shown(entry.path)} is not described whole")


def check_path(path: str) -> None:
    """Make sure that a path can be one in a release.

    :raises AgentError: with the code ``failed``.
    """
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise refused(f"the name {shown(path)} is not UTF-8") from None
    if not _NO_CONTROL.fullmatch(path):
        raise refused(f"the name {shown(path)} has control characters")
    if length > LONGEST_PATH:
        raise refused(f"{shown(path)[:60]}… is longer than {LONGEST_PATH} bytes")
    if {"", ".", ".."} & set(path.split("/")):
        raise refused(f"{shown(path)} is no path in it")
