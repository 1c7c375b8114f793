"""How a release differs from what was committed. Read as nobody: see :mod:`agent.facts.nobody`."""

from __future__ import annotations

import difflib
import itertools
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Protocol

from agent.facts.bounded import COMMAND_SECONDS, LARGEST_TEXT, seconds_left
from agent.facts.nobody import Beneath, as_nobody
from agent.facts.repository import Git
from agent.protocol import Json
from agent.system import CallDeadline

FILES_SHOWN, DIFFS_SHOWN, DIFF_LINES_SHOWN, DIFF_LINE_SHOWN = 20, 5, 40, 200
CHUNK = 1 << 16


class _Note(Protocol):
    def __call__(self, path: str, what: str, diff: Iterable[str] = ()) -> None: ...


def compared(deadline: CallDeadline, git: Git, mirror: Path, revision: str, release: str) -> Json:
    """Compare a release with the output of ``git archive``, by which it was made, attributes included."""
    if not mirror.is_dir():
        return {"problem": f"there is no {mirror} to compare with"}
    process = git.start("-C", str(mirror), "archive", "--format=tar", revision)
    stream = process.stdout
    assert stream is not None  # noqa: S101
    try:
        seconds = seconds_left(deadline, COMMAND_SECONDS)
        found, why = as_nobody(seconds, lambda: _differences(stream, release))
    finally:
        stream.close()
        process.kill()
        process.wait()
    if found is None:
        return {"problem": why}
    if found["problem"]:
        return {"problem": git.fatal(process) or found["problem"]}
    shown = found["files"]
    unclear = [one["path"] for one in shown if _is_drawn_anew(git, mirror, revision, one["path"])]
    shown = [one for one in shown if one["path"] not in unclear]
    for one in shown[DIFFS_SHOWN:]:
        one["diff"] = []
    return {"problem": None, "files": shown, "more": found["more"], "unclear": unclear}


def _differences(stream: IO[bytes], release: str) -> Json:
    """Return the first files that differ, and how many more do."""
    found: list[Json] = []
    more = 0
    committed: set[str] = set()
    there = Beneath(release)

    def note(path: str, what: str, diff: Iterable[str] = ()) -> None:
        nonlocal more
        if len(found) < FILES_SHOWN:
            found.append({"path": printable(path), "what": what, "diff": list(diff)})
        else:
            more += 1

    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isdir() and not _is_built(member.name, committed):
                    committed.add(member.name)
                    _compare(member, archive, there, note)
    except tarfile.ReadError as error:
        return {"problem": str(error)}
    for path in there.files():
        if path not in committed and not _is_built(path, committed):
            note(path, "it was not committed")
    return {"problem": None, "files": found, "more": more}


def _is_built(path: str, committed: set[str]) -> bool:
    """Whether the build writes it, or removes it, whatever was committed.

    It makes ``local`` where there is a ``cpanfile``, which git lists first.
    """
    first = path.split("/")[0]
    return first in (".bluegreen", "REVISION") or (first == "local" and "cpanfile" in committed)


def _is_drawn_anew(git: Git, mirror: Path, revision: str, path: str) -> bool:
    """Whether ``export-subst`` may put something else into a file today: an age, or the names of branches."""
    return "$Format:" in git("-C", str(mirror), "cat-file", "blob", f"{revision}:{path}")[1]


def _compare(member: tarfile.TarInfo, archive: tarfile.TarFile, there: Beneath, note: _Note) -> None:
    """Note how a file of a release is not as it was committed, if it is not."""
    differs = "it is not as it was committed"
    try:
        kind = there.stat(member.name).st_mode
    except FileNotFoundError:
        note(member.name, "it is not there")
        return
    except OSError:
        # A directory of the commit is a link, or a file, here.
        note(member.name, f"{differs}: one of its directories is none")
        return
    if not member.isfile() or not stat.S_ISREG(kind):
        same = member.issym() and stat.S_ISLNK(kind) and there.link(member.name) == member.linkname
        if not same:
            note(member.name, differs)
        return
    try:
        with there.open(member.name) as now:
            was = archive.extractfile(member)
            assert was is not None  # noqa: S101
            diff: list[str] = []
            if max(os.fstat(now.fileno()).st_size, member.size) > LARGEST_TEXT:
                same = _is_same(was, now)
            else:
                old, new = was.read(), now.read(LARGEST_TEXT + 1)
                same, diff = old == new, lines_between(old, new)
    except OSError:
        note(member.name, "it cannot be read by everybody, as it could when it was built")
        return
    if not same:
        note(member.name, differs, diff)


def _is_same(one: IO[bytes], other: IO[bytes]) -> bool:
    while True:
        left, right = one.read(CHUNK), other.read(CHUNK)
        if left != right or not left:
            return left == right


def lines_between(was: bytes, now: bytes) -> list[str]:
    """Return the first lines of a diff; none of bytes that are no text."""
    if was == now or b"\0" in was + now:
        return []
    before, after = (text.decode(errors="replace").splitlines() for text in (was, now))
    lines = difflib.unified_diff(before, after, "committed", "on the droplet", lineterm="")
    return [line[:DIFF_LINE_SHOWN] for line in itertools.islice(lines, DIFF_LINES_SHOWN)]


def printable(path: str) -> str:
    """A path that can be sent as JSON, whatever bytes it is made of."""
    return os.fsencode(path).decode(errors="replace")
