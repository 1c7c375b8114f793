"""A program: fetches files from a CPAN mirror, where nothing of a repository runs.

Standard input has a JSON object: ``mirror`` (its URL, which may have a user and a password), ``paths`` below
that, and the ``directory`` that they are written into. What the mirror does not have is left out: cpanm says
whether it is needed. The exit status is 1 if the mirror cannot be asked.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

AT_ONCE = 8
# Seconds without a byte, and for one file; bytes of one file.
SILENCE, LONGEST, LARGEST = 30.0, 600.0, 1 << 30
TRIES, PAUSE = 3, 2.0
CHUNK = 1 << 16


class Mirror:
    """A mirror, asked without a proxy, by http and https only, and never by http if its URL has https."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.hostname}"
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self.headers = {}
        if parts.username is not None:
            pair = ":".join(urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
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

    def fetch(self, path: str, target: Path) -> None:
        """Fetch a file.

        :raises OSError: or ``http.client.HTTPException``, if it cannot be fetched.
        """
        request = urllib.request.Request(f"{self.url}/{urllib.parse.quote(path)}")  # noqa: S310
        for name, value in self.headers.items():
            # Not sent to another host that the mirror leads to.
            request.add_unredirected_header(name, value)
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
        part.replace(target)


class NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request."""
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it leads from https to {newurl.partition(':')[0]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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


def main() -> int:
    """Fetch what is asked for, and return the exit status."""
    request = json.load(sys.stdin)
    mirror, directory = Mirror(request["mirror"]), Path(request["directory"])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [
            why for why in pool.map(lambda path: outcome_of(mirror, path, directory), request["paths"]) if why
        ]
    if failed:
        print(f"error: cannot fetch from {mirror.shown}: {failed[0]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
