"""A search for secrets wherever they may be left: on machines, in files, in a database, among processes."""

from __future__ import annotations

import base64
import contextlib
import gzip
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox import Machine

# Run on a machine as root, with what is searched for on its standard input.
_FILES = """
grep --recursive --files-with-matches --text --fixed-strings --file=- / \
    --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev 2>/dev/null
"""
_PROCESSES_AND_JOURNAL = """
journalctl --no-pager --all --output=export >/dev/shm/journal
ps axwwo args >/dev/shm/processes
grep --only-matching --text --fixed-strings --file=- /dev/shm/journal /dev/shm/processes
rm /dev/shm/journal /dev/shm/processes
"""
_GZIP = b"\x1f\x8b"


class SecretSearch:
    """What to search for.

    :param marks: a text that is in a secret and nowhere else, by the secret's name. Letters and digits only:
        quoting for URLs, JSON, shells and systemd leaves them as they are.
    """

    def __init__(self, marks: Mapping[str, str]) -> None:
        self._needles = {needle: name for name, mark in marks.items() for needle in _forms(mark)}
        self._text = "".join(f"{needle.decode()}\n" for needle in self._needles)

    def names_in(self, data: bytes) -> set[str]:
        """Return the names of the secrets that are in some bytes, compressed or not."""
        if data.startswith(_GZIP):
            with contextlib.suppress(OSError, EOFError):
                data += gzip.decompress(data)
        return {name for needle, name in self._needles.items() if needle in data}

    def files_of(self, machine: Machine) -> list[str]:
        """Return the files on a machine that have a secret in them."""
        return machine.run(_FILES, text=self._text, check=False, seconds=120).stdout.splitlines()

    def shown_by(self, machine: Machine) -> list[str]:
        """Return where command lines, and the journal with all its fields, have a secret in them."""
        shown = machine.run(["bash", "-c", _PROCESSES_AND_JOURNAL], text=self._text, check=False, seconds=120)
        return [self._name(line) for line in shown.stdout.splitlines()]

    def files_below(self, directory: Path) -> dict[str, set[str]]:
        """Return the secrets in each file below a directory that has any."""
        files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
        found = {str(path.relative_to(directory)): self.names_in(path.read_bytes()) for path in files}
        return {path: names for path, names in found.items() if names}

    def rows_of(self, database: Path) -> dict[str, set[str]]:
        """Return the secrets in each column of an SQLite database that has any."""
        found: dict[str, set[str]] = {}
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608
                columns = [each[0] for each in rows.description]
                for row in rows:
                    for column, value in zip(columns, row, strict=True):
                        data = value if isinstance(value, bytes) else str(value).encode()
                        if names := self.names_in(data):
                            found.setdefault(f"{table}.{column}", set()).update(names)
        return found

    @contextmanager
    def watching_processes(self) -> Iterator[dict[str, set[str]]]:
        """Look at the command lines of all processes, those in machines too, until the end.

        The secrets that were seen are in the dictionary, by the command line's first words.
        """
        seen: dict[str, set[str]] = {}
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                for data in _command_lines():
                    if names := self.names_in(data):
                        seen.setdefault(repr(data[:100]), set()).update(names)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            thread.join()

    def _name(self, line: str) -> str:
        file, _, found = line.partition(":")
        return f"{Path(file).name}: {self._needles.get(found.encode(), '?')}"


def _forms(mark: str) -> Iterator[bytes]:
    """Return how a text looks as it is, in hexadecimal digits, and in base64 wherever it begins."""
    data = mark.encode()
    yield data
    yield data.hex().encode()
    for before in range(3):
        # The first and the last characters depend on what stands around the text.
        encoded = base64.b64encode(b"\0" * before + data).rstrip(b"=")
        yield encoded[4 if before else 0 : -2]


def _command_lines() -> Iterable[bytes]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield (entry / "cmdline").read_bytes()
