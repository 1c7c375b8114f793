"""How a release differs from what was committed. Read as nobody: see nobody.py.

Standard library only, Python 3.8 or later.
"""

import difflib
import itertools
import os
import stat
import tarfile

from bounded import COMMAND_SECONDS, LARGEST_TEXT
from nobody import Beneath, as_nobody

FILES_SHOWN, DIFFS_SHOWN, DIFF_LINES_SHOWN, DIFF_LINE_SHOWN = 20, 5, 40, 200
CHUNK = 1 << 16


def compared(deadline, git, mirror, revision, release):
    """Compare a release with what ``git archive`` says now: it was made so, attributes and all."""
    if not mirror.is_dir():
        return {"problem": f"there is no {mirror} to compare with"}
    process = git.start("-C", str(mirror), "archive", "--format=tar", revision)
    try:
        found, why = as_nobody(deadline.left(COMMAND_SECONDS), lambda: _differences(process.stdout, release))
    finally:
        process.stdout.close()
        process.kill()
        process.wait()
    if why is None and found["problem"]:
        why = git.fatal(process) or found["problem"]
    if why is not None:
        return {"problem": why}
    shown = found["files"]
    unclear = [one["path"] for one in shown if _is_drawn_anew(git, mirror, revision, one["path"])]
    shown = [one for one in shown if one["path"] not in unclear]
    for one in shown[DIFFS_SHOWN:]:
        one["diff"] = []
    return {"problem": None, "files": shown, "more": found["more"], "unclear": unclear}


def _differences(stream, release):
    """Return the first files that differ, and how many more do."""
    found, more, committed = [], 0, set()
    there = Beneath(release)

    def note(path, what, diff=()):
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


def _is_built(path, committed):
    """Whether the build writes it, or removes it, whatever was committed.

    It makes ``local`` where there is a ``cpanfile``, which git lists first.
    """
    first = path.split("/")[0]
    return first in (".bluegreen", "REVISION") or (first == "local" and "cpanfile" in committed)


def _is_drawn_anew(git, mirror, revision, path):
    """Whether ``export-subst`` may put something else into a file today: an age, or the names of branches."""
    return "$Format:" in git("-C", str(mirror), "cat-file", "blob", f"{revision}:{path}")[1]


def _compare(member, archive, there, note):
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
            if max(os.fstat(now.fileno()).st_size, member.size) > LARGEST_TEXT:
                same, diff = _is_same(was, now), ()
            else:
                old, new = was.read(), now.read(LARGEST_TEXT + 1)
                same, diff = old == new, lines_between(old, new)
    except OSError:
        note(member.name, "it cannot be read by everybody, as it could when it was built")
        return
    if not same:
        note(member.name, differs, diff)


def _is_same(one, other):
    while True:
        left, right = one.read(CHUNK), other.read(CHUNK)
        if left != right or not left:
            return left == right


def lines_between(was, now):
    """Return the first lines of a diff; none of bytes that are no text."""
    if was == now or b"\0" in was + now:
        return []
    texts = (text.decode(errors="replace").splitlines() for text in (was, now))
    lines = difflib.unified_diff(*texts, "committed", "on the droplet", lineterm="")
    return [line[:DIFF_LINE_SHOWN] for line in itertools.islice(lines, DIFF_LINES_SHOWN)]


def printable(path):
    """A path that can be sent as JSON, whatever bytes it is made of."""
    return os.fsencode(path).decode(errors="replace")
