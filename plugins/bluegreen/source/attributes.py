"""What the ``.gitattributes`` of a revision say about its files, read by git from the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bluegreen.errors import RefError
from bluegreen.source.mirror import Mirror
from bluegreen.source.tree import Entry, check_text, parents_of

ATTRIBUTES = ".gitattributes"


@dataclass(frozen=True)
class Attributes:
    """Files with attributes that count for a source.

    :param left_out: paths that ``git archive`` leaves out (``export-ignore``).
    :param lfs: paths whose content is in Git LFS, unless it was committed itself (``filter=lfs``).
    """

    left_out: frozenset[str] = frozenset()
    lfs: frozenset[str] = frozenset()


def attributes_of(mirror: Mirror, revision: str, entries: Sequence[Entry]) -> Attributes:
    """Return what the ``.gitattributes`` of a revision say.

    :raises RefError: if git cannot read the revision's tree, or a file is larger than any genuine one.
    """
    files = [entry for entry in entries if entry.name == ATTRIBUTES and not entry.is_submodule]
    if not files:
        return Attributes()
    sizes = mirror.fetched(revision, (entry.id for entry in files))
    for entry in files:
        check_text(entry, sizes[entry.id], revision)
    directories = {parent for entry in entries for parent in parents_of(entry.path)}
    # As `git archive` asks: for a directory, and for a submodule, with a slash at the end.
    asked = [f"{entry.path}/" if entry.is_submodule else entry.path for entry in entries]
    ignored, lfs = _ask(mirror, revision, [*asked, *(f"{one}/" for one in sorted(directories))])
    return Attributes(
        frozenset(
            entry.path
            for entry in entries
            if entry.path in ignored or not ignored.isdisjoint(parents_of(entry.path))
        ),
        frozenset(lfs),
    )


def _ask(mirror: Mirror, revision: str, paths: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return which paths have ``export-ignore``, and which ``filter=lfs``."""
    # An index of the revision lets git read attributes without a work tree. The mirror is locked, so there is
    # one at a time.
    index = {"GIT_INDEX_FILE": str(mirror.path / "attributes.index")}
    made = mirror.run("read-tree", revision, environment=index)
    if "invalid path" in made.stderr:
        raise RefError(f"{revision[:12]} cannot be deployed: git refuses its tree: {made.complaint}")
    mirror.require(made)
    answer = mirror.run(
        *("check-attr", "--cached", "--stdin", "-z", "export-ignore", "filter"),
        stdin="".join(f"{path}\0" for path in paths),
        environment=index,
    )
    mirror.require(answer)
    fields = answer.stdout.split("\0")
    found = list(zip(fields[::3], fields[1::3], fields[2::3], strict=False))
    return (
        {path.rstrip("/") for path, name, value in found if (name, value) == ("export-ignore", "set")},
        {path for path, name, value in found if (name, value) == ("filter", "lfs")},
    )
