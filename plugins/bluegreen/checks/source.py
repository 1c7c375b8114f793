"""What is in the revision that a deploy would build, as the mirror on Airflow's machine has it."""

from __future__ import annotations

from bluegreen.app import App
from bluegreen.checks.facts import Source
from bluegreen.source.mirror import FileTooLargeError, Mirror, with_mirror
from bluegreen.source.policy import allowed

CPANFILE, SNAPSHOT = "cpanfile", "cpanfile.snapshot"


def read_source(app: App, ref: str) -> Source:
    """Resolve a ref as a deploy does, and list what it leads to.

    :raises RefError: if the ref is malformed or not there, or the repository does not answer.
    :raises PolicyError: if the revision may not be deployed.
    """
    return with_mirror(app.repository, lambda mirror: _read(mirror, app, ref))


def _read(mirror: Mirror, app: App, ref: str) -> Source:
    revision = allowed(mirror, app, ref).revision
    try:
        texts = mirror.texts(revision, (CPANFILE, SNAPSHOT))
    except FileTooLargeError as error:
        return Source(ref, revision, problem=str(error))
    return Source(
        ref,
        revision,
        files=mirror.files(revision),
        cpanfile=texts.get(CPANFILE),
        snapshot=texts.get(SNAPSHOT),
    )
