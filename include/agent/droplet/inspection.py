"""What a build has left, before it is root's: inspected, then taken over.

Nothing that the build has started is alive by then, and the directory above is root's, so nobody changes it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from agent.droplet.links import refusal
from agent.droplet.manifest import MOST_ENTRIES, check_path, refused, shown
from agent.droplet.tree import target_of, walk
from agent.system import remove_tree


def take_over(directory: Path, allowed: Collection[str] = ()) -> None:
    """Make what another user has filled root's: its modes are normalized, and nobody else may write there.

    :param allowed: absolute targets that links may have.
    :raises AgentError: with the code ``failed`` if root must not have something of it; nothing is changed
        then.
    """
    about = directory.lstat()
    if not stat.S_ISDIR(about.st_mode):
        raise refused(f"{shown(directory.name)} is no directory")
    found = [("", about)]
    for path, about in walk(directory):
        check_path(path)
        found.append((path, about))
        if len(found) > MOST_ENTRIES:
            raise refused(f"it has more than {MOST_ENTRIES} files")
    for path, why in problems(directory, found[1:], allowed):
        raise refused(f"{shown(path)} {shown(why)}")
    for path, about in found:
        _own(directory / path, about)


def problems(
    directory: Path, found: list[tuple[str, os.stat_result]], allowed: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield what root must not take over: the path, and why, in words that follow it."""
    links = {path: target_of(directory / path) for path, about in found if stat.S_ISLNK(about.st_mode)}
    names: dict[tuple[int, int], list[str]] = {}
    for path, about in found:
        mode = about.st_mode
        if stat.S_ISLNK(mode):
            if why := refusal(path, links, allowed):
                yield path, why
            continue
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            yield path, "is a device, a pipe or a socket"
        if mode & (stat.S_ISUID | stat.S_ISGID):
            yield path, "has a set-user-id or set-group-id bit"
        if stat.S_ISREG(mode) and about.st_nlink > 1:
            same = names.setdefault((about.st_dev, about.st_ino), [])
            same.append(path)
    counts = {(about.st_dev, about.st_ino): about.st_nlink for _, about in found}
    for inode, paths in names.items():
        if len(paths) < counts[inode]:
            yield paths[0], "is a hard link, and its other name is elsewhere"


def add_links(directory: Path, links: dict[str, str]) -> None:
    """Add links to a release that is root's already.

    :param links: their targets by their paths.
    :raises AgentError: with the code ``failed`` if something of the repository is in the way.
    """
    for path, target in sorted(links.items()):
        check_path(path)
        *above, _ = path.split("/")
        for depth in range(1, len(above) + 1):
            parent = directory.joinpath(*above[:depth])
            if not os.path.lexists(parent):
                parent.mkdir(0o755)
                parent.chmod(0o755)
            elif not stat.S_ISDIR(parent.lstat().st_mode):
                raise _in_the_way("/".join(above[:depth]), target)
        link = directory / path
        if not os.path.lexists(link):
            link.symlink_to(target)
        elif not link.is_symlink() or target_of(link) != target:
            raise _in_the_way(path, target)


def make_way(directory: Path, *names: str) -> None:
    """Remove what the repository has where root writes; links are not followed."""
    for name in names:
        remove_tree(directory / name)


def _own(path: Path, about: os.stat_result) -> None:
    if stat.S_ISLNK(about.st_mode):
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        return
    # A link that has taken its place meanwhile is not followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, os.geteuid(), os.getegid())
        is_open = stat.S_ISDIR(about.st_mode) or bool(about.st_mode & stat.S_IXUSR)
        os.fchmod(descriptor, 0o755 if is_open else 0o644)
    finally:
        os.close(descriptor)


def _in_the_way(path: str, target: str) -> Exception:
    return refused(
        f"the repository has {shown(path)}, which is to be a link to {target}: "
        "remove it there, or from `shared` or `files`"
    )
