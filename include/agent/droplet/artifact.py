"""The artifact: a release in one file, a ``tar.gz`` whose first member is the manifest.

The other members are the manifest's entries in its order. So whoever unpacks it knows what each member has to
be before it is read: nothing can be there twice, elsewhere, or larger than the manifest says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from agent.droplet.manifest import (
    DIRECTORY,
    FILE,
    LARGEST,
    LINK,
    LONGEST_PATH,
    PLACE,
    Entry,
    Manifest,
    parse,
    read,
    refused,
    shown,
)
from agent.droplet.tree import CHUNK, sha256_of, sync
from agent.protocol import SentFile

# Fast: a build is waited for, and an artifact is sent a few times only.
_LEVEL = 1
_TYPES = {DIRECTORY: tarfile.DIRTYPE, FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}
_LONG = {tarfile.GNUTYPE_LONGNAME: "name", tarfile.GNUTYPE_LONGLINK: "linkname"}
# Bytes of zeros that may end an archive: tar fills its last record.
_MOST_PADDING = 1 << 20


def pack(directory: Path, file: Path, app: str) -> SentFile:
    """Write the artifact of a release, which has its manifest; nobody writes to the release meanwhile.

    :raises AgentError: with the code ``failed`` if the release is not as its manifest says.
    """
    data = read(directory)
    manifest = parse(data, app)
    with file.open("xb") as raw:
        os.fchmod(raw.fileno(), 0o600)
        # Neither a name nor a time is part of it: the same release is the same file.
        with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
            _put(packed, _header(Entry(FILE, PLACE, size=len(data)), manifest), [data])
            for entry in manifest.entries:
                _put(packed, _header(entry, manifest), _read(directory, entry))
            packed.write(bytes(2 * tarfile.BLOCKSIZE))
        raw.flush()
        os.fsync(raw.fileno())
    return {"name": file.name, "sha256": sha256_of(file), "size": file.stat().st_size}


def unpack(file: Path, directory: Path, app: str, digest: str) -> Manifest:
    """Unpack an artifact into a directory that is made for it, and return its manifest.

    Everything is compared with the manifest while it is written, and is on the disk when this ends. A kill or
    an error leaves a part of it: the directory is to have the name of a leftover, and is renamed then.

    :param directory: in a directory where nobody else writes.
    :param digest: the release's, whole.
    :raises AgentError: with the code ``failed`` if the artifact is not the one of this release.
    :raises OSError: if it cannot be written.
    """
    try:
        with gzip.open(file, "rb") as packed:
            stream = io.BufferedReader(packed, CHUNK)
            manifest = _manifest_in(stream, app, digest)
            directory.mkdir(0o755)
            directory.chmod(0o755)
            for entry in manifest.entries:
                _check(_next_header(stream), entry)
                _write(stream, directory, entry, manifest.committed)
                if entry.path == PLACE.rpartition("/")[0]:
                    _write_file(directory / PLACE, iter([manifest.data]), 0o644)
            _check_end(stream)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError):
        raise refused("its artifact is damaged") from None
    _set_times(directory, manifest)
    sync(directory)
    return manifest


def check(file: Path, app: str) -> Manifest:
    """Compare an artifact whose digest is not known with its own manifest, and return that; write nothing.

    :raises AgentError: with the code ``failed`` if it is no artifact of this app.
    """
    try:
        with gzip.open(file, "rb") as packed:
            stream = io.BufferedReader(packed, CHUNK)
            manifest = parse(_manifest_data(stream), app)
            for entry in manifest.entries:
                _check(_next_header(stream), entry)
                sha256 = hashlib.sha256()
                for part in _contents(stream, entry.size):
                    sha256.update(part)
                if entry.kind == FILE and sha256.hexdigest() != entry.sha256:
                    raise refused(f"{shown(entry.path)} is not as its manifest says")
            _check_end(stream)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError):
        raise refused("its artifact is damaged") from None
    return manifest


def _header(entry: Entry, manifest: Manifest) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.path)
    header.type, header.size, header.linkname = _TYPES[entry.kind], entry.size, entry.target
    header.mode, header.mtime = entry.mode, manifest.committed
    return header


def _put(packed: gzip.GzipFile, header: tarfile.TarInfo, parts: Iterable[bytes]) -> None:
    """Write a member. A ``TarFile`` would keep the headers of all of them in memory."""
    packed.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    for part in parts:
        packed.write(part)
    packed.write(bytes(-header.size % tarfile.BLOCKSIZE))


def _read(directory: Path, entry: Entry) -> Iterator[bytes]:
    if entry.kind != FILE:
        return
    left = entry.size
    with (directory / entry.path).open("rb") as file:
        while part := file.read(CHUNK):
            left -= len(part)
            yield part
    if left != 0:
        raise refused(f"{shown(entry.path)} is not as its manifest says")


def _manifest_data(stream: IO[bytes]) -> bytes:
    header = _next_header(stream)
    if (header.name, header.type) != (PLACE, tarfile.REGTYPE) or header.size > LARGEST:
        raise refused("its artifact does not begin with a manifest")
    return b"".join(_contents(stream, header.size))


def _manifest_in(stream: IO[bytes], app: str, digest: str) -> Manifest:
    data = _manifest_data(stream)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise refused(f"its artifact is of the digest {found[:16]} instead of {digest[:16]}")
    return parse(data, app)


def _next_header(stream: IO[bytes]) -> tarfile.TarInfo:
    """Return the next member's header. ``tarfile`` would read a name of any length into memory.

    :raises AgentError: if it is no header.
    """
    long: dict[str, str] = {}
    while True:
        header = tarfile.TarInfo.frombuf(_exactly(stream, tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        # A number in base 256 has a sign, and a read of fewer than no bytes would be of all that follows.
        if header.size < 0:
            raise refused("its artifact has a member of a negative size")
        if header.type not in _LONG:
            break
        if header.size > LONGEST_PATH + 1 or len(long) >= len(_LONG):
            raise refused("its artifact has a name that is too long")
        name = b"".join(_contents(stream, header.size)).rstrip(b"\0")
        long[_LONG[header.type]] = os.fsdecode(name)
    header.name, header.linkname = long.get("name", header.name), long.get("linkname", header.linkname)
    header.name = header.name.rstrip("/")
    return header


def _check(header: tarfile.TarInfo, entry: Entry) -> None:
    found = (header.name, header.type, header.size, header.linkname)
    if found != (entry.path, _TYPES[entry.kind], entry.size, entry.target):
        name = shown(header.name)
        raise refused(f"its artifact has {name} where its manifest has {shown(entry.path)}")


def _write(stream: IO[bytes], directory: Path, entry: Entry, committed: int) -> None:
    path = directory / entry.path
    if entry.kind == DIRECTORY:
        path.mkdir(0o755)
        path.chmod(0o755)
    elif entry.kind == LINK:
        path.symlink_to(entry.target)
    else:
        sha256 = _write_file(path, _contents(stream, entry.size), entry.mode)
        if sha256 != entry.sha256:
            raise refused(f"{shown(entry.path)} is not as its manifest says")
    if entry.kind != DIRECTORY:
        os.utime(path, (committed, committed), follow_symlinks=False)


def _write_file(path: Path, parts: Iterator[bytes], mode: int) -> str:
    """Write a new file, and return its SHA-256."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        os.fchmod(file.fileno(), mode)
    return digest.hexdigest()


def _contents(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield what a member has, and leave the stream where the next one begins."""
    left = size
    while left:
        part = _exactly(stream, min(left, CHUNK))
        left -= len(part)
        yield part
    _exactly(stream, -size % tarfile.BLOCKSIZE)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _check_end(stream: IO[bytes]) -> None:
    rest = stream.read(_MOST_PADDING)
    if len(rest) < 2 * tarfile.BLOCKSIZE or rest.strip(b"\0") or stream.read(1):
        raise refused("its artifact has more in it than its manifest")


def _set_times(directory: Path, manifest: Manifest) -> None:
    """Give all directories, and the manifest, the commit's date."""
    moment = (manifest.committed, manifest.committed)
    os.utime(directory / PLACE, moment)
    for entry in manifest.entries:
        if entry.kind == DIRECTORY:
            os.utime(directory / entry.path, moment)
    os.utime(directory, moment)
