"""The source that a deploy would build from, fetched and read on Airflow's machine."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from bluegreen.checks.facts import Source
from bluegreen.checks.gather.ask_machine import attempt
from bluegreen.errors import BlueGreenError, RefError
from bluegreen.hooks.repository import repository_access, with_source
from bluegreen.release.configuration import template_texts
from bluegreen.settings.app import App
from bluegreen.source.policy import resolve

CPANFILE, SNAPSHOT = "cpanfile", "cpanfile.snapshot"
# The largest text that is read, in bytes; the largest cpanfile.snapshot seen had 0.4 MB.
LARGEST_TEXT = 4 << 20


def read_source(app: App, ref: str) -> Source:
    """Resolve a ref as a deploy does, fetch the source of its revision, and read what the checks look at.

    :raises RefError: if the ref is malformed or missing, or the repository does not answer.
    :raises PolicyError: if the revision may not be deployed.
    """
    with repository_access(app) as access:
        revision = resolve(app, ref, access=access).revision
    try:
        with with_source(app, revision) as archive:
            return _read(app, ref, revision, archive.path)
    except BlueGreenError as error:
        return Source(ref, revision, problem=str(error))


def _read(app: App, ref: str, revision: str, archive: Path) -> Source:
    named = {name: str(PurePosixPath(app.server.root) / name) for name in (CPANFILE, SNAPSHOT)}
    paths, links, texts = _contents(archive, named.values())
    return Source(
        ref,
        revision,
        files=frozenset(paths),
        root=app.server.root,
        cpanfile=texts.get(named[CPANFILE]),
        snapshot=texts.get(named[SNAPSHOT]),
        links=links,
        templates=attempt(lambda: template_texts(app, archive)),
    )


def _contents(archive: Path, wanted: Collection[str]) -> tuple[set[str], dict[str, str], dict[str, str]]:
    """Return the paths of a source's files and links, what each link leads to, and the texts of some files.

    :raises RefError: if a text is larger than any genuine one.
    """
    paths, links, texts = set(), {}, {}
    with tarfile.open(archive, "r|gz") as entries:
        for entry in entries:
            if entry.isdir():
                continue
            paths.add(entry.name)
            if entry.issym():
                links[entry.name] = entry.linkname
            elif entry.name in wanted:
                if entry.size > LARGEST_TEXT:
                    raise RefError(f"{entry.name} has {entry.size} bytes, and may have {LARGEST_TEXT}")
                content = entries.extractfile(entry)
                texts[entry.name] = content.read().decode("utf-8", "replace") if content else ""
    return paths, links, texts
