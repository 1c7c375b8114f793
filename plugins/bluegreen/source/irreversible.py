"""Commits that declare that there is no way back from them: by ``Irreversible: <reason>`` in the message."""

from __future__ import annotations

import re

from bluegreen.source.mirror import Mirror

TRAILER = "Irreversible"
# Commits that are named, and characters of each one's reason.
MOST_SHOWN, LONGEST_REASON = 3, 120
# Commits with a declaration that are read; one more is enough to know that there are more than are named.
MOST_READ = 20

# A trailer stands at the end of a message, but a forge that squashes commits puts theirs in the middle.
_DECLARED = re.compile(rf"^{TRAILER}:[ \t]*(.*)$", re.IGNORECASE)


def declared_irreversible(mirror: Mirror, revision: str, live: str | None) -> str | None:
    """Return what makes a revision irreversible, in words: its commits that say so, and their reasons.

    Only commits count that the live revision does not have. ``None`` if none of them says so.

    :param live: the live revision, which the mirror has; ``None`` if the repository no longer has it. Then it
        is not known which commits are new, and all of the revision's count.
    :raises DamagedError: if the mirror is damaged.
    """
    between = revision if live is None else f"{live}..{revision}"
    # git looks for the word, so that only commits with it are read, however many there are in between.
    wanted = ("--extended-regexp", "--regexp-ignore-case", f"--grep=^{TRAILER}:")
    found: list[tuple[str, str]] = []
    commit = ""
    # Every line of a message is indented, and no id is.
    for line in mirror.log(between, *wanted, "--format=%h%n%w(0,1,1)%B", most=MOST_READ):
        if line and not line.startswith(" "):
            commit = line
        elif declared := _DECLARED.match(line[1:]):
            found.append((commit, declared[1].strip()))
    if not found:
        return None
    shown = [f"{commit}: {_short(reason)}" for commit, reason in found[:MOST_SHOWN]]
    return "; ".join([*shown, "and more"] if len(found) > MOST_SHOWN else shown)


def _short(reason: str) -> str:
    if len(reason) > LONGEST_REASON:
        return f"{reason[:LONGEST_REASON]}…"
    return reason or "no reason is given"
