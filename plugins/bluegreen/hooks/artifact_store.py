"""The artifact store: what was built is kept there, and taken from there to every droplet."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Self, TypeVar
from uuid import uuid4

from airflow.sdk import BaseHook, ObjectStoragePath
from pydantic import ValidationError

from agent.release_name import DIGEST
from bluegreen.hooks.connection import get_connection
from bluegreen.hooks.sealing import sealing_key
from bluegreen.hooks.shared_cache import require_shared_cache
from bluegreen.hooks.store_errors import PROVIDERS, StoreError, errors_named
from bluegreen.polling import in_thread
from bluegreen.release.artifact import ArtifactFile, ArtifactRecord, KeyEntry, is_of
from bluegreen.run.seal import opened, sealed
from bluegreen.settings.app import App
from bluegreen.source.cache import cache_directory, own_directory

T = TypeVar("T")

# Seconds for a record, or a listing; for a file, these and one more for each so many bytes.
SECONDS = 60.0
BYTES_A_SECOND = 1 << 20
# Seconds between two renewals of the lock, while the store is waited for.
PAUSE = 1.0
# Bytes that are read at once, and of a record: it holds templates.
CHUNK = 1 << 20
LARGEST_RECORD = 16 << 20
# Names that are looked at when old artifacts are removed.
MOST_NAMES = 10_000

ARCHIVE, RECORD = ".tar.gz", ".json"
KEYS = "by_key"
_PARTIAL = ".partial."


@dataclass(frozen=True)
class Built:
    """An artifact of the store that was built from what a key stands for.

    :param texts: the templates of the configuration, by their paths.
    """

    record: ArtifactRecord
    texts: Mapping[str, str]


class ArtifactStore(BaseHook):
    """An app's artifacts in a directory of their own, ``<root>/<app>``.

    It has ``<digest>.tar.gz``, its record ``<digest>.json`` and, for each key, ``by_key/<key>.json``. Records
    are sealed: who can write to the store can lose artifacts, but not let one be deployed.

    :param app: the app.
    :param root: a URL for Airflow's ``ObjectStoragePath``.
    :param meanwhile: called every second while the store is waited for; what it raises ends the wait.
    """

    def __init__(self, app: App, root: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.app = app
        self.name = f"the artifact store {root}"
        self._meanwhile = meanwhile
        with errors_named(self.name, f"is not usable ({PROVIDERS})"):
            self._directory = ObjectStoragePath(root) / app.id
            # Asked for here: a thread cannot ask Airflow for the connection.
            self._fs = self._directory.fs
            # Without its connection, a provider would ask anonymously, and at another address.
            if self._directory.conn_id:
                get_connection(self._directory.conn_id)
        self._is_local = self._directory.protocol in ("", "file")

    @classmethod
    def of(cls, app: App, meanwhile: Callable[[], object] = lambda: None) -> Self:
        """Return an app's store: ``artifacts.store``, or a directory below ``BLUEGREEN_CACHE_DIR``.

        :raises StoreError: if the setting is missing where not all workers have the same such directory, or
            if the store is not usable.
        """
        if app.artifacts.store is None:
            require_shared_cache()
        return cls(app, app.artifacts.store or (cache_directory() / "artifacts").as_uri(), meanwhile)

    def check(self) -> None:
        """Make sure that the store is there and can be read, and a local one written; nothing is written.

        :raises StoreError: if it cannot.
        """
        self._bounded("cannot be read", self._names)
        if self._is_local:
            self._bounded("cannot be written", self._require_writable)
        else:
            self._bounded("cannot be read", self._require_bucket)

    def _require_bucket(self) -> None:
        bucket = self._directory.path.strip("/").partition("/")[0]
        if not self._fs.exists(bucket):
            raise FileNotFoundError(f"there is no bucket {bucket}")

    def _require_writable(self) -> None:
        path = Path(self._directory.path)
        existing = next(one for one in (path, *path.parents) if one.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise StoreError(f"{self.name} cannot be written: no permission for {existing}")

    def built(self, key: str) -> Built | None:
        """Return the artifact that was built from what a key stands for, or ``None`` if there is none.

        A record that has no valid seal counts as none: it was made when ``connections.seal`` had another
        password, or by somebody else.

        :raises StoreError: if the store cannot be read.
        """
        entry = self._record(f"{KEYS}/{key}{RECORD}", KeyEntry)
        if entry is None or entry.key != key:
            return None
        record = self._record(f"{entry.digest}{RECORD}", ArtifactRecord)
        if record is None or record.digest != entry.digest or not self._has(record):
            return None
        return Built(record, entry.texts)

    def find(self, release: str) -> Built | None:
        """Return the artifact of a release by its name, or ``None`` if there is none.

        :raises StoreError: if the store cannot be read.
        """
        for name in self._bounded("cannot be read", self._names):
            digest = name.partition(".")[0]
            if not re.fullmatch(rf"{DIGEST}\{RECORD}", name) or not is_of(digest, [release]):
                continue
            record = self._record(name, ArtifactRecord)
            if record and (record.digest, record.release) == (digest, release) and self._has(record):
                entry = self._record(f"{KEYS}/{record.key}{RECORD}", KeyEntry)
                return Built(record, entry.texts if entry and entry.digest == digest else {})
        return None

    def put(self, record: ArtifactRecord, texts: Mapping[str, str], file: Path) -> ArtifactRecord:
        """Keep an artifact. Killed anywhere, the store has it whole, or does not know it.

        One that is there already stays: droplets may be on their way to it.

        :param file: the artifact, which is what its record says.
        :return: the record of the artifact that the store has.
        :raises StoreError: if it cannot be written.
        """
        known = self._record(f"{record.digest}{RECORD}", ArtifactRecord)
        if known is not None and known.digest == record.digest and self._is_whole(known):
            record = known.model_copy(update={"key": record.key})
        else:
            seconds = seconds_for(record.size)
            self._bounded(
                "cannot be written", lambda: self._put_file(f"{record.digest}{ARCHIVE}", file), seconds
            )
        self._put_record(f"{record.digest}{RECORD}", record)
        entry = KeyEntry(app=self.app.id, key=record.key, digest=record.digest, texts=texts)
        self._put_record(f"{KEYS}/{entry.key}{RECORD}", entry)
        return record

    def _is_whole(self, record: ArtifactRecord) -> bool:
        try:
            self.verify(record)
        except StoreError as error:
            self.log.warning("%s", error)
            return False
        return True

    def verify(self, record: ArtifactRecord) -> None:
        """Make sure that an artifact is what was put there, byte for byte.

        :raises StoreError: if it is not, or if it cannot be read.
        """

        def digest() -> str:
            found = hashlib.sha256()
            for chunk in self._chunks(record.file):
                found.update(chunk)
            return found.hexdigest()

        seconds = seconds_for(record.size)
        if self._bounded("cannot be read", digest, seconds) != record.sha256:
            raise self.altered(record.file)

    @contextmanager
    def fetched(self, file: ArtifactFile) -> Iterator[Path]:
        """Yield an artifact as a local file of its size; whoever sends it checks its digest on the way.

        :raises StoreError: if it is not there, has another size, or cannot be read.
        """
        if self._is_local:
            path = Path(self._directory.path) / file.name

            def size() -> int:
                if not path.exists():
                    raise self._missing(file)
                return path.stat().st_size

            if self._bounded("cannot be read", size) != file.size:
                raise self.altered(file)
            yield path
            return
        # In the cache: a system's directory for temporary files may be in memory.
        with TemporaryDirectory(dir=own_directory(cache_directory() / "sources")) as directory:
            path = Path(directory) / file.name

            def fetch() -> None:
                with path.open("xb") as target:
                    for chunk in self._chunks(file):
                        target.write(chunk)

            self._bounded("cannot be read", fetch, seconds_for(file.size))
            yield path

    def altered(self, file: ArtifactFile) -> StoreError:
        """Return the error that an artifact is not what was put there."""
        return StoreError(
            f"{self.name}: {self.app.id}/{file.name} is not what a build has put there, so nothing is done "
            f"with it; find out who has written there, remove that file, and trigger a new run"
        )

    def _missing(self, file: ArtifactFile) -> StoreError:
        """Return the error that a local store lacks an artifact that the run has just built, or found."""
        return StoreError(
            f"{self.name} on {gethostname()} has no {self.app.id}/{file.name}; if it was not removed, "
            "another worker may have put it into a store of its own: set artifacts.store to an object store, "
            "or to a directory that every worker has mounted, and trigger a new run"
        )

    def records(self) -> list[ArtifactRecord]:
        """Return the records of all artifacts, the newest first.

        :raises StoreError: if the store cannot be read.
        """
        known = self._records(self._bounded("cannot be read", self._names)).items()
        return [record for digest, record in known if record and record.digest == digest]

    def prune(self, keep: int, in_use: Collection[str]) -> None:
        """Remove all but the newest artifacts.

        :param keep: how many stay.
        :param in_use: releases whose artifacts stay besides: a new droplet, or a rollback, may need them.
        :raises StoreError: if the store cannot be read, or written.
        """
        names = self._bounded("cannot be read", self._names)
        old = sorted(one for one in list(self._records(names))[keep:] if not is_of(one, in_use))
        partial = [name for name in names if _PARTIAL in name]
        if old:
            self.log.info("%s: removing %s", self.name, ", ".join(one[:12] for one in old))
        keys = self._keys_of(set(old)) if old else []
        doomed = [*partial, *keys, *(f"{one}{end}" for one in old for end in (RECORD, ARCHIVE))]
        self._bounded("cannot be written", lambda: self._remove(doomed))

    def _records(self, names: Collection[str]) -> dict[str, ArtifactRecord | None]:
        """Return the artifacts that files are of, the newest first; those without a valid record are last."""
        found = {name[:64] for name in names if re.fullmatch(rf"{DIGEST}(\.tar\.gz|\.json)", name)}
        records = [(one, self._record(f"{one}{RECORD}", ArtifactRecord)) for one in found]
        return dict(sorted(records, key=lambda each: each[1].built_at if each[1] else 0.0, reverse=True))

    def _keys_of(self, digests: set[str]) -> list[str]:
        """Return the entries of these artifacts, and those that cannot be read."""
        names = self._bounded("cannot be read", lambda: self._names(KEYS))
        paths = [f"{KEYS}/{name}" for name in names]
        entries = {path: self._record(path, KeyEntry) for path in paths if path.endswith(RECORD)}
        return [path for path, entry in entries.items() if entry is None or entry.digest in digests]

    def _record(self, name: str, kind: type[T]) -> T | None:
        """Return a record, or ``None`` if there is none with a valid seal."""

        def read() -> bytes:
            try:
                with self._open(name, "rb") as file:
                    data: bytes = file.read(LARGEST_RECORD + 1)
                    return data
            except FileNotFoundError:
                return b""

        data = self._bounded("cannot be read", read)
        if not data:
            return None
        try:
            known = opened(sealing_key(self.app), json.loads(data)) if len(data) <= LARGEST_RECORD else None
            if known is not None and known.get("kind") == kind.__name__ and known.get("app") == self.app.id:
                del known["kind"]
                return kind.model_validate(known)  # type: ignore[attr-defined, no-any-return]
        except (ValueError, ValidationError):
            pass
        self.log.warning(
            "%s: %s/%s has no valid seal, so it is not used: connections.seal had another password then, or "
            "somebody else has written there",
            *(self.name, self.app.id, name),
        )
        return None

    def _put_record(self, name: str, record: ArtifactRecord | KeyEntry) -> None:
        # A statement of another kind, or between tasks, must not pass for this one.
        statement = {**record.model_dump(mode="json"), "kind": type(record).__name__}
        data = json.dumps(sealed(sealing_key(self.app), statement)).encode()
        self._bounded("cannot be written", lambda: self._write(name, lambda file: file.write(data)))

    def _put_file(self, name: str, source: Path) -> None:
        def copy(target: BinaryIO) -> None:
            with source.open("rb") as file:
                while chunk := file.read(CHUNK):
                    target.write(chunk)

        self._write(name, copy)

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a file that is there whole or not at all; an object store does that by itself."""
        if not self._is_local:
            with self._open(name, "wb") as file:
                write(file)
            return
        target = Path(self._directory.path) / name
        for directory in (target.parent.parent, target.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}{_PARTIAL}{uuid4().hex}")
        try:
            with self._open(partial.relative_to(self._directory.path).as_posix(), "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _chunks(self, file: ArtifactFile) -> Iterator[bytes]:
        """Read an artifact, and no more of it than it should have.

        :raises StoreError: if it has another size.
        """
        left = file.size
        with self._open(file.name, "rb") as source:
            while chunk := source.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        if left:
            raise self.altered(file)

    def _has(self, record: ArtifactRecord) -> bool:
        path = self._path(record.file.name)
        return self._bounded("cannot be read", lambda: bool(self._fs.exists(path)))

    def _names(self, below: str = "") -> list[str]:
        try:
            found = self._fs.ls(self._path(below), detail=False)
        except FileNotFoundError:
            return []
        return [str(one).rstrip("/").rpartition("/")[2] for one in found[:MOST_NAMES]]

    def _remove(self, names: Collection[str]) -> None:
        for name in names:
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                continue

    def _path(self, name: str) -> str:
        path = f"{self._directory.path}/{name}" if name else self._directory.path
        return str(path)

    def _open(self, name: str, mode: str) -> Any:
        # Not ObjectStoragePath.open, which reports each read of a chunk as lineage.
        return self._fs.open(self._path(name), mode)

    def _bounded(self, what: str, work: Callable[[], T], seconds: float = SECONDS) -> T:
        """Do something with the store in a thread, which is given up after a time.

        :param what: what is wrong if it fails.
        :raises StoreError: naming the store.
        """
        late = StoreError(f"{self.name} {what}: it did not answer within {seconds:.0f} s", transient=True)

        def named() -> T:
            with errors_named(self.name, what):
                return work()

        return in_thread(named, meanwhile=self._meanwhile, every=PAUSE, seconds=seconds, late=late)


def seconds_for(size: int) -> float:
    """Return the seconds that a file of a size, in bytes, may take."""
    return SECONDS + size / BYTES_A_SECOND
