"""The contents of the revision that a deploy would build, from the mirror on Airflow's machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from bluegreen.checks.facts import Source
from bluegreen.errors import RefError
from bluegreen.settings.app import App
from bluegreen.source.git import run_git
from bluegreen.source.mirror import LINK, SUBMODULE, FileTooLargeError, Mirror, with_mirror
from bluegreen.source.policy import allowed

CPANFILE, SNAPSHOT, ATTRIBUTES = "cpanfile", "cpanfile.snapshot", ".gitattributes"
# At most so many .gitattributes are read, those of the upper directories first.
MOST_ATTRIBUTES = 100
# The targets of at most so many links are read.
MOST_LINKS = 200
SECONDS = 30.0

# The files that dependencies are built from.
DEPENDENCIES = ("cpanfile", "cpanfile.snapshot", "vendor/cache")


def read_source(app: App, ref: str) -> Source:
    """Resolve a ref as a deploy does, and list the files of its revision.

    :raises RefError: if the ref is malformed or missing, or the repository does not answer.
    :raises PolicyError: if the revision may not be deployed.
    """
    return with_mirror(app.repository, lambda mirror: _read(mirror, app, ref))


def _read(mirror: Mirror, app: App, ref: str) -> Source:
    revision = allowed(mirror, app, ref).revision
    modes = mirror.modes(revision)
    committed = frozenset(modes)
    attributes = sorted(path for path in committed if PurePosixPath(path).name == ATTRIBUTES)
    try:
        texts = mirror.texts(revision, (CPANFILE, SNAPSHOT, *attributes[:MOST_ATTRIBUTES]))
        left_out = left_out_by({path: texts[path] for path in attributes if path in texts}, committed)
        links = sorted(path for path in committed - left_out if modes[path] == LINK)
        targets = mirror.texts(revision, links[:MOST_LINKS]) if links else {}
    except FileTooLargeError as error:
        return Source(ref, revision, problem=str(error))
    files = committed - left_out
    return Source(
        ref,
        revision,
        files=files,
        left_out=left_out,
        cpanfile=texts.get(CPANFILE) if CPANFILE in files else None,
        snapshot=texts.get(SNAPSHOT) if SNAPSHOT in files else None,
        made_from=made_from(mirror, revision),
        links=targets,
        links_unread=len(links) - len(targets),
        submodules=frozenset(path for path in files if modes[path] == SUBMODULE),
    )


def left_out_by(attributes: Mapping[str, str], committed: frozenset[str]) -> frozenset[str]:
    """Return the files that ``git archive`` leaves out of a release.

    :param attributes: the text of each ``.gitattributes`` by its path.
    :raises RefError: if git cannot read them.
    """
    if not any("export-ignore" in text for text in attributes.values()):
        return frozenset()
    parents = {path: [str(one) for one in PurePosixPath(path).parents][:-1] for path in committed}
    asked = sorted(committed.union(*parents.values()))
    with TemporaryDirectory(prefix="bluegreen-") as directory:
        # git reads attributes from a work tree; one with only the attribute files is enough.
        place = Path(directory)
        run_git("init", "--quiet", "--template=", directory, timeout=SECONDS)
        for path, text in attributes.items():
            file = place / path
            if ".." not in PurePosixPath(path).parts:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        wanted = "\0".join([*asked, ""])
        where = ("-C", directory, "check-attr", "--stdin", "-z", "export-ignore")
        answer = run_git(*where, stdin=wanted, timeout=SECONDS)
    if answer.status != 0:
        raise RefError(f"the repository's {ATTRIBUTES} cannot be read: {answer.complaint}")
    fields = answer.stdout.split("\0")
    ignored = {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "set"}
    return frozenset(path for path in committed if path in ignored or ignored.intersection(parents[path]))


def made_from(mirror: Mirror, revision: str) -> str:
    """Return the part of a dependency set's key that depends on the revision, as the build computes it."""
    # A link may point to any file of the revision.
    if any(
        line.startswith(f"{LINK} ") for line in mirror.listed(revision, *DEPENDENCIES, "vendor").splitlines()
    ):
        return mirror.listed(revision, ".")
    return mirror.listed(revision, *DEPENDENCIES, ".gitattributes")
