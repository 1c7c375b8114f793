"""The directory of repository mirrors on Airflow's machine, and the lock on each of them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bluegreen.errors import RefError

# Seconds to wait for a mirror: a run holds it for seconds, and longer only to fetch a large repository first.
LOCK_SECONDS = 300.0
LOCK_INTERVAL = 0.1
# A mirror is removed after this time without use; the next run that needs it fetches it again.
UNUSED_SECONDS = 90 * 86400.0
# A source that is older was left by a task that was killed: sending one takes minutes.
LEFT_BEHIND_SECONDS = 86400.0


class BusyError(RefError):
    """Another run has used the mirror for too long."""

    transient = True


def cache_directory() -> Path:
    """Return ``BLUEGREEN_CACHE_DIR``, or a directory below Airflow's own."""
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    return Path(os.environ.get("BLUEGREEN_CACHE_DIR") or f"{home}/bluegreen_cache").expanduser()


@contextmanager
def locked_mirror(repository: str, access: str = "") -> Iterator[tuple[Path, int]]:
    """Lock a repository's mirror, and yield its directory, which may not exist yet.

    :param repository: URL of the repository.
    :param access: name of the credentials that it is read with, which has a mirror to itself.
    :return: the directory, and the lock's file descriptor, which programs that write there have to inherit.
    :raises RefError: if the cache cannot be used; the text names the directory and its setting.
    :raises BusyError: if another run holds it for longer than :data:`LOCK_SECONDS`.
    """
    directory = own_directory(cache_directory() / "repositories")
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", repository.rpartition("@")[2])[-60:].strip("-.")
    digest = hashlib.sha256(f"{repository}\0{access}".encode()).hexdigest()[:12]
    path = directory / f"{name}-{digest}.git"
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(directory, error) from None
    try:
        _wait(lock, repository)
        os.utime(lock)
        _remove_unused(directory)
        yield path, lock
    except OSError as error:
        raise unusable(directory, error) from None
    finally:
        os.close(lock)


@contextmanager
def room_for_source() -> Iterator[Path]:
    """Yield an empty directory of the cache for the source of one task, and remove it at the end.

    :raises RefError: if the cache cannot be used; the text names the directory and its setting.
    """
    sources = own_directory(cache_directory() / "sources")
    for left in sources.iterdir():
        # Another task may remove it at the same time.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    try:
        directory = Path(tempfile.mkdtemp(dir=sources))
    except OSError as error:
        raise unusable(sources, error) from None
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def size_of(directory: Path) -> int:
    """Return the total size of a directory's files in bytes."""
    return sum(file.lstat().st_size for file in directory.rglob("*") if file.is_file())


def _wait(lock: int, repository: str) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"another run has been reading {repository} for {LOCK_SECONDS:g} s; trigger a new run"
                ) from None
            time.sleep(LOCK_INTERVAL)


def own_directory(directory: Path) -> Path:
    """Make a directory of the cache that nobody else can write to: what is in it is trusted.

    :raises RefError: if it cannot be made, or others may write to it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise unusable(directory, error) from None
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RefError(
            f"{directory} belongs to another user, or others may write to it, so a mirror there cannot be "
            "trusted; set BLUEGREEN_CACHE_DIR to a directory of Airflow's user alone"
        )
    return directory


def unusable(directory: Path, error: OSError) -> RefError:
    """Return the error about a cache that cannot be written."""
    return RefError(
        f"the cache {directory} cannot be used: {error.strerror or error}; "
        "BLUEGREEN_CACHE_DIR names the directory"
    )


def _remove_unused(directory: Path) -> None:
    """Remove the mirrors of repositories that no app has any more."""
    for file in directory.glob("*.lock"):
        if time.time() - file.stat().st_mtime < UNUSED_SECONDS:
            continue
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(file.with_suffix(".git"), ignore_errors=True)
            file.unlink()
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
