"""Which repositories and commits the submodules of a revision are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bluegreen.errors import RefError
from bluegreen.source.addresses import submodule_address
from bluegreen.source.mirror import Mirror
from bluegreen.source.tree import Entry, check_text

GITMODULES = ".gitmodules"
_KEY = re.compile(r"submodule\.(.*)\.(path|url)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Submodule:
    """A commit of another repository, as a directory of a revision.

    :param path: the directory.
    :param repository: URL of the repository.
    :param revision: the commit.
    """

    path: str
    repository: str
    revision: str


def submodules_of(mirror: Mirror, revision: str, entries: Sequence[Entry]) -> list[Submodule]:
    """Return the submodules of a revision.

    :param entries: those of the revision that are part of its source.
    :raises RefError: if ``.gitmodules`` does not say where a submodule's repository is, or names one that may
        not be read; the text names the submodule.
    """
    links = [entry for entry in entries if entry.is_submodule]
    if not links:
        return []
    urls = _urls(mirror, revision, entries)
    found = []
    for link in links:
        if link.path not in urls:
            raise RefError(
                f"{link.path} of {revision[:12]} is a submodule without a URL in {GITMODULES}; add the URL "
                "there, or remove the submodule"
            )
        try:
            repository = submodule_address(mirror.repository, urls[link.path])
        except ValueError as error:
            raise RefError(
                f"the URL of the submodule {link.path} in {GITMODULES} is not allowed: {error}"
            ) from None
        found.append(Submodule(link.path, repository, link.id))
    return found


def _urls(mirror: Mirror, revision: str, entries: Sequence[Entry]) -> dict[str, str]:
    """Return the submodules' URLs by path, as they are written in ``.gitmodules``."""
    file = next((entry for entry in entries if entry.path == GITMODULES and not entry.is_submodule), None)
    if file is None:
        return {}
    if file.is_link:
        raise RefError(f"{GITMODULES} of {revision[:12]} is a link; commit a file")
    check_text(file, mirror.fetched(revision, [file.id])[file.id], revision)
    shown = mirror.run("config", f"--blob={file.id}", "-z", "--get-regexp", r"^submodule\..*\.(path|url)$")
    # With status 1 and no error it has no such key.
    if shown.status != 0 and shown.stderr:
        raise RefError(f"{GITMODULES} of {revision[:12]} cannot be read: {shown.complaint}")
    paths: dict[str, str] = {}
    urls: dict[str, str] = {}
    for line in shown.stdout.split("\0")[:-1]:
        key, _, value = line.partition("\n")
        if part := _KEY.fullmatch(key):
            (paths if part[2] == "path" else urls)[part[1]] = value
    return {path.rstrip("/"): urls[name] for name, path in paths.items() if name in urls}
