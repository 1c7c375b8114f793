"""A mirror of Debian's packages for the machines, which fetches what they ask for with this machine's apt.

The images of the machines name the archives that this machine's apt knew when they were made. A machine's own
sources name the mirror instead, so that it needs no other network; what the mirror answers is checked by the
machine's apt, as everywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
import time
from pathlib import Path, PurePosixPath

from aiohttp import web

from sandbox.api.faults import Faults, FileAnswer, Handler
from sandbox.errors import SandboxError
from sandbox.image import CACHE
from sandbox.processes import run

HELPER = "/usr/lib/apt/apt-helper"
# Seconds. Indexes change several times a day; packages, and indexes that are named by their hash, never.
FRESH_SECONDS = 3600.0
FETCH_SECONDS = 300.0
NEVER_CHANGES = re.compile(r"/(pool|by-hash)/")
SOURCE_LISTS = (".list", ".sources")
# An archive's address in a source list of either format.
_URI = re.compile(r"\b[a-z][a-z0-9+.-]*:/[^\s\]]*")
# A machine's apt is as strict as this machine's with lists that are old, and keeps its small disk free.
_INHERITED = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
_FRUGAL = 'Acquire::Languages "none";\nAcquire::GzipIndexes "true";\n'

log = logging.getLogger(__name__)


class NotThereError(SandboxError):
    """An archive does not have a file."""


class DebianMirror:
    """The mirror of one sandbox; files that have been fetched are shared with all others.

    :param url: where machines find it, without a path.
    :param cache: for the files; it can be removed at any time.
    """

    def __init__(self, url: str, cache: Path = CACHE / "debian") -> None:
        self._url = url
        self._cache = cache
        self._archives: dict[str, str] = {}
        self._fetching: dict[Path, asyncio.Lock] = {}
        self._naming = threading.Lock()

    def configuration(self, image: Path) -> dict[str, str]:
        """Return the files that make a machine's apt use the mirror, by their paths.

        :param image: the root directory of the machine's image.
        """
        parts = (image / "etc/apt/sources.list.d").glob("*")
        lists = [image / "etc/apt/sources.list", *(part for part in parts if part.suffix in SOURCE_LISTS)]
        files = {
            str(each.relative_to(image)): self._rewritten(each.read_text())
            for each in lists
            if each.is_file()
        }
        inherited = run(["apt-config", "dump", *_INHERITED], check=False)
        return {**files, "etc/apt/apt.conf.d/50sandbox": inherited + _FRUGAL}

    async def file(self, path: str) -> Path:
        """Return the file that a path of the mirror leads to, and fetch it if that is necessary.

        :raises NotThereError: no archive has it.
        :raises SandboxError: apt cannot fetch it.
        """
        name, _, rest = path.partition("/")
        archive = self._archives.get(name)
        if archive is None or not rest or ".." in PurePosixPath(rest).parts:
            raise NotThereError(f"no archive has {path}")
        uri = f"{archive}/{rest}"
        file = self._cache / hashlib.sha256(archive.encode()).hexdigest()[:16] / rest
        async with self._fetching.setdefault(file, asyncio.Lock()):
            if not _is_fresh(file):
                try:
                    await _fetch(uri, file)
                except NotThereError:
                    raise
                except SandboxError as error:
                    if not file.exists():
                        raise
                    log.warning("%s is served as it was: %s", path, error)
        return file

    def _rewritten(self, text: str) -> str:
        """Return a source list with the mirror's addresses, without comments."""
        lines = (line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
        return _URI.sub(lambda found: f"{self._url}/{self._name(found[0])}", "".join(lines))

    def _name(self, uri: str) -> str:
        """Return the name that an archive has on the mirror: the last part of its address."""
        archive = uri.rstrip("/")
        with self._naming:
            for name, known in self._archives.items():
                if known == archive:
                    return name
            last = archive.rpartition("/")[2]
            name = last if last not in self._archives else f"{last}-{len(self._archives)}"
            self._archives[name] = archive
        return name


def make_app(mirror: DebianMirror, faults: Faults) -> web.Application:
    """Serve a mirror.

    :param faults: the faults to inject; their patterns match ``/debian/…`` and so on.
    """

    @web.middleware
    async def disturb(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await faults.handle(request, handler)

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return FileAnswer(await mirror.file(request.match_info["path"]))
        except NotThereError as error:
            return web.Response(status=404, text=str(error))
        except SandboxError as error:
            return web.Response(status=502, text=str(error))

    app = web.Application(middlewares=[disturb])
    app.add_routes([web.get("/{path:.+}", serve)])
    return app


def _is_fresh(file: Path) -> bool:
    try:
        fetched = file.stat().st_mtime
    except OSError:
        return False
    return bool(NEVER_CHANGES.search(str(file))) or time.time() - fetched < FRESH_SECONDS


async def _fetch(uri: str, file: Path) -> None:
    """Let apt fetch a file, with this machine's configuration."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    options = {
        # Another user than root could not write to the cache.
        "APT::Sandbox::User": "root",
        # The machine's apt asks again.
        "Acquire::Retries": "0",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    try:
        process = await asyncio.create_subprocess_exec(
            HELPER,
            *words,
            "download-file",
            _copied(uri),
            str(new),
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), FETCH_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise SandboxError(f"{file.name} was not fetched within {FETCH_SECONDS:g} s") from None
        text = output.decode(errors="replace")
        if process.returncode:
            kind = NotThereError if re.search(r"\b404\b|File not found", text) else SandboxError
            raise kind(f"apt cannot fetch {file.name}: {_reason(text)}")
        # The time says when the file was fetched, not when it was made.
        os.utime(new)
        new.rename(file)
    except FileNotFoundError:
        raise SandboxError(
            "apt-helper is not installed: packages can be fetched on Debian and Ubuntu"
        ) from None
    finally:
        new.unlink(missing_ok=True)


def _copied(uri: str) -> str:
    """Return the address with which apt copies a file; it would make a link to one of this machine."""
    return f"copy:{uri.removeprefix('file:')}" if uri.startswith("file:") else uri


def _reason(text: str) -> str:
    errors = [line.strip() for line in text.splitlines() if line.startswith(("E:", "Err:"))]
    return errors[0] if errors else "no reason"
