"""Reading a directory tree that others may have made: no link is followed, nothing is waited for."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agent.system import since_boot

CHUNK = 1 << 20


def walk(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a directory with what ``lstat`` says of it; no link is followed.

    :raises OSError: if something cannot be read.
    """
    ahead = [""]
    while ahead:
        parent = ahead.pop()
        with os.scandir(directory / parent) as found:
            names = sorted(entry.name for entry in found)
        for name in names:
            path = f"{parent}/{name}" if parent else name
            about = (directory / path).lstat()
            yield path, about
            if stat.S_ISDIR(about.st_mode):
                ahead.append(path)


def sha256_of(path: Path, end: float | None = None) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; a link is not followed.

    :param end: the moment, in seconds since the boot, by which it has to be over.
    :raises TimeoutError: if it is not.
    """
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while part := file.read(CHUNK):
            check_time(end)
            digest.update(part)
    return digest.hexdigest()


def target_of(link: Path) -> str:
    """Return a link's target as it is; ``Path.readlink`` would normalize it."""
    return os.readlink(link)  # noqa: PTH115


def check_time(end: float | None) -> None:
    """Make sure that a moment, in seconds since the boot, is not over.

    :raises TimeoutError: if it is.
    """
    if end is not None and since_boot() > end:
        raise TimeoutError


def sync(directory: Path) -> None:
    """Write everything in the file system of a directory to the disk; a call for each file takes longer."""
    subprocess.run(["sync", "--file-system", "--", str(directory)], stdin=subprocess.DEVNULL, check=True)


def read_regular(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file.

    :param most: how many it may have.
    :raises OSError: if there is none, if it is a link or another kind of file, or if it is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > most:
            raise OSError(f"{path} is no regular file of at most {most} bytes")
        return file.read(most)
