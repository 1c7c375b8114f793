"""A program: fetches files from a CPAN mirror, where nothing of a repository runs.

Standard input has a JSON object: ``mirror`` (its URL), ``credentials`` (null, or ``login`` and ``password``),
``paths`` below that, the ``directory`` that they are written into, and the directory ``kept`` with the paths
``known`` there. Each of these is fetched anew if it is damaged, and is in the file :data:`DAMAGED` then, a
JSON list. What the mirror does not have is left out: cpanm says whether it is needed. The exit status is 1 if
the mirror cannot be asked.
"""

from __future__ import annotations

import base64
import bz2
import http.client
import json
import lzma
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

AT_ONCE = 8
# Seconds without a byte, and for one file; bytes of one file.
SILENCE, LONGEST, LARGEST = 30.0, 600.0, 1 << 30
TRIES, PAUSE = 3, 2.0
CHUNK = 1 << 16
# Which of the files that are kept are not whole; in the directory.
DAMAGED = "damaged.json"
# What Python's modules raise for archives that are damaged, or that nobody can have made in good faith.
_NOT_WHOLE = (
    *(EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError),
    *(zipfile.BadZipFile, tarfile.TarError),
)
_BZIP2, _XZ, _GZIP, _ZIP = b"BZh", b"\xfd7zXZ", b"\x1f\x8b", b"PK"


class Mirror:
    """A mirror, asked without a proxy, by http and https only, and never by http if its URL has https.

    :param credentials: ``login`` and ``password``, or None.
    """

    def __init__(self, url: str, credentials: Mapping[str, str] | None) -> None:
        parts = urllib.parse.urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.hostname}"
        self.url = url.rstrip("/")
        self.headers = {}
        if credentials is not None:
            pair = f"{credentials['login']}:{credentials['password']}"
            self.headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self.opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.UnknownHandler(),
            NoDowngrade(),
        ):
            self.opener.add_handler(handler)

    def question(self, path: str, method: str = "GET") -> urllib.request.Request:
        """Return the request for a file."""
        url = f"{self.url}/{urllib.parse.quote(path)}"
        request = urllib.request.Request(url, method=method)  # noqa: S310
        for name, value in self.headers.items():
            # Not sent to another host that the mirror leads to.
            request.add_unredirected_header(name, value)
        return request

    def fetch(self, path: str, target: Path) -> None:
        """Fetch an archive; a mirror may say nothing of its size, and cut it off.

        :raises OSError: or ``http.client.HTTPException``, if it cannot be fetched, or is not whole.
        """
        request = self.question(path)
        end, size = time.monotonic() + LONGEST, 0
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with self.opener.open(request, timeout=SILENCE) as answer, part.open("wb") as file:
            while data := answer.read(CHUNK):
                size += len(data)
                if size > LARGEST or time.monotonic() > end:
                    raise OSError("it is too large, or comes too slowly")
                file.write(data)
            if answer.length:
                raise OSError("it was cut off")
        require_whole(part)
        part.replace(target)


class NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request."""
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it leads from https to {newurl.partition(':')[0]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_whole(path: Path) -> None:
    """Make sure that an archive was not cut off: it is read to its end, and its checksums are compared.

    :raises OSError: if it was, or if it is no archive.
    """
    end = time.monotonic() + LONGEST
    try:
        with path.open("rb") as file:
            for _ in _contents(file):
                if time.monotonic() > end:
                    raise OSError("it has no end")
    except _NOT_WHOLE:
        raise OSError("it is damaged, or no archive") from None


def _contents(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what is in an archive, a little at a time."""
    begin = file.read(max(map(len, (_BZIP2, _XZ, _GZIP, _ZIP))))
    file.seek(0)
    if begin.startswith(_GZIP):
        yield from _gunzipped(file)
    elif begin.startswith(_BZIP2):
        with bz2.open(file) as unpacked:
            yield from _parts(unpacked)
    elif begin.startswith(_XZ):
        with lzma.open(file) as unpacked:
            yield from _parts(unpacked)
    elif begin.startswith(_ZIP):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as opened:
                    yield from _parts(opened)
    else:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for _ in archive:
                yield b""


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(CHUNK):
        yield part


def _gunzipped(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what is in a gzip file; what follows its end does not count, as for ``tar``."""
    stream = zlib.decompressobj(31)
    while not stream.eof:
        data = stream.unconsumed_tail or file.read(CHUNK)
        part = stream.decompress(data, CHUNK)
        if not data and not part:
            raise EOFError
        yield part


def outcome_of(mirror: Mirror, path: str, directory: Path) -> str:
    """Fetch a file, and return why the mirror cannot be asked; empty if it answered."""
    why = ""
    for left in reversed(range(TRIES)):
        try:
            mirror.fetch(path, directory / path)
            return ""
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                return ""
            why = f"it answers {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        if left:
            time.sleep(PAUSE)
    return f"{path}: {why}"


def is_whole(path: Path) -> bool:
    """Return whether an archive is whole."""
    try:
        require_whole(path)
    except OSError:
        return False
    return True


def main() -> int:
    """Fetch what is asked for, and return the exit status."""
    request = json.load(sys.stdin)
    mirror = Mirror(request["mirror"], request["credentials"])
    directory, kept = Path(request["directory"]), Path(request["kept"])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        checked = pool.map(lambda path: is_whole(kept / path), request["known"])
        damaged = [path for path, is_good in zip(request["known"], checked) if not is_good]
        (directory / DAMAGED).write_text(json.dumps(damaged))
        wanted = [*request["paths"], *damaged]
        failed = [why for why in pool.map(lambda path: outcome_of(mirror, path, directory), wanted) if why]
    if failed:
        print(f"error: cannot fetch from {mirror.shown}: {failed[0]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
