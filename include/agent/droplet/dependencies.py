"""The distributions that an app needs: what they are made from, and those that are installed already."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.droplet.tree import sha256_of, sync, target_of, walk
from agent.protocol import AgentError, Code
from agent.system import remove_tree

CARTON, CPANM, NONE = "carton", "cpanm", "none"
CPANFILE, SNAPSHOT, VENDORED = "cpanfile", "cpanfile.snapshot", "vendor/cache"
# Programs that name dependencies, and may read any file of the app; and files that name them.
PROGRAMS = ("Build.PL", "Makefile.PL")
META = ("META.json", "META.yml")
# Counted up when the same files are to give other bytes than before.
FORMAT = 1
# Sets of installed dependencies that are kept, and bytes of tarballs.
KEPT_SETS, KEPT_BYTES = 5, 1 << 30
# The name of a set.
NAME = r"[0-9a-f]{40}"
# Below the app's cache: tarballs, by mirror.
DISTRIBUTIONS = "distributions"


@dataclass(frozen=True)
class Needs:
    """What an app's dependencies are made from.

    :param files: paths in the app's directory; ``.`` if any file there may count.
    :param is_whole: whether any file of the repository may count, because a link may lead to it.
    :param meta: the file that names them if there is no cpanfile, or an empty text.
    :param is_vendored: whether the repository brings the tarballs.
    """

    files: tuple[str, ...]
    is_whole: bool
    meta: str
    is_vendored: bool


def needs_of(app: Path, installer: str) -> Needs | None:
    """Return what the dependencies are made from; None if there are none to install.

    :param app: the app's directory in the source; nobody writes there.
    :raises AgentError: with the code ``failed`` if what the installer needs is missing.
    """
    if installer == NONE:
        return None
    is_vendored = (app / VENDORED).is_dir()
    vendored = (VENDORED,) if is_vendored else ()
    if installer == CARTON:
        if not os.path.lexists(app / CPANFILE):
            return None
        if not os.path.lexists(app / SNAPSHOT):
            raise AgentError(
                Code.FAILED,
                f"{SNAPSHOT} is missing in the repository: run carton install, and commit it, "
                "or set dependencies.installer to cpanm",
            )
        files, meta = (CPANFILE, SNAPSHOT, *vendored), ""
    else:
        found = _named(app)
        if found is None:
            return None
        files, meta = (*found, *vendored), found[0] if found[0] in META else ""
    is_whole = _has_links(app, files)
    return Needs((".",) if is_whole or "." in files else files, is_whole, meta, is_vendored)


def _named(app: Path) -> tuple[str, ...] | None:
    if os.path.lexists(app / CPANFILE):
        return (CPANFILE,)
    if any(os.path.lexists(app / name) for name in PROGRAMS):
        return (".",)
    for name in META:
        if os.path.lexists(app / name):
            return (name,)
    if os.path.lexists(app / "dist.ini"):
        raise AgentError(
            Code.FAILED,
            "dist.ini is for Dist::Zilla, which droplets do not have: run dzil build, and commit the "
            "META.json, META.yml or cpanfile that it makes",
        )
    return None


def _has_links(app: Path, files: tuple[str, ...]) -> bool:
    """Whether a link is among some files, or on the way to them: it may lead to any file."""
    for name in files:
        parts = [part for part in name.split("/") if part != "."]
        on_the_way = [app.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        if any(path.is_symlink() for path in on_the_way):
            return True
        path = app.joinpath(*parts)
        if path.is_dir() and any(stat.S_ISLNK(about.st_mode) for _, about in walk(path)):
            return True
    return False


def key_of(perl_key: str, settings: Mapping[str, Any], directory: Path, files: tuple[str, ...]) -> str:
    """Return the name of a set of installed dependencies: whatever has the same name has the same content.

    A cpanfile is a program, so where it runs it finds nothing but what the key is made from.

    :param settings: what else counts: the setting ``dependencies``, and Debian's packages.
    :param directory: where the files are; nobody writes there.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([FORMAT, perl_key, settings], sort_keys=True).encode())
    for line in sorted(_listed(directory, files)):
        digest.update(b"\n" + line)
    return digest.hexdigest()[:40]


def _listed(directory: Path, files: tuple[str, ...]) -> Iterator[bytes]:
    for name in files:
        path = directory / name
        found = walk(path) if path.is_dir() else iter([("", path.lstat())])
        for below, about in found:
            at = path / below if below else path
            yield _described(at, about) + b" " + os.fsencode(os.path.relpath(at, directory))


def _described(path: Path, about: os.stat_result) -> bytes:
    if stat.S_ISLNK(about.st_mode):
        return b"l " + hashlib.sha256(os.fsencode(target_of(path))).hexdigest().encode()
    if stat.S_ISREG(about.st_mode):
        kind = b"x " if about.st_mode & stat.S_IXUSR else b"f "
        return kind + sha256_of(path).encode()
    return b"d"


def keep(cache: Path, key: str, installed: Path) -> Path:
    """Move a set of dependencies, which is root's, into the cache, and return where it is."""
    kept = cache / key
    # The build says nothing about how long a set is kept.
    os.utime(installed)
    # A set that a power cut left empty would be taken for one that is whole.
    sync(installed)
    installed.rename(kept)
    return kept


def sets_in(cache: Path, besides: Path | None = None) -> list[Path]:
    """Return the sets of dependencies in the cache.

    :param besides: the one that is left out.
    """
    found = (path for path in cache.iterdir() if path.name != DISTRIBUTIONS and ".partial." not in path.name)
    return sorted(path for path in found if path != besides)


def prune(cache: Path, key: str) -> None:
    """Remove the sets, and the tarballs, that were not used for the longest time.

    :param key: of the set that is in use.
    """
    for path in sorted(sets_in(cache, cache / key), key=_used, reverse=True)[KEPT_SETS - 1 :]:
        # Renamed first: what is half removed must not look like a set.
        partial = Path(tempfile.mkdtemp(prefix=f"{path.name}.partial.", dir=cache))
        path.rename(partial / "old")
        remove_tree(partial)
    tarballs = [path for path in (cache / DISTRIBUTIONS).rglob("*") if path.is_file()]
    size = 0
    for path in sorted(tarballs, key=_used, reverse=True):
        size += path.stat().st_size
        if size > KEPT_BYTES:
            path.unlink()


def _used(path: Path) -> float:
    return path.lstat().st_mtime


def link_tree(source: Path, target: Path) -> None:
    """Give a tree that is root's a second name, by hard links of its files.

    :param target: does not exist.
    """
    target.mkdir(0o755)
    target.chmod(0o755)
    for path, about in walk(source):
        if stat.S_ISDIR(about.st_mode):
            (target / path).mkdir(0o755)
            (target / path).chmod(0o755)
        elif stat.S_ISLNK(about.st_mode):
            (target / path).symlink_to(target_of(source / path))
        else:
            os.link(source / path, target / path, follow_symlinks=False)
