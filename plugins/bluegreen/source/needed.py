"""What a deploy of an app needs from its repository, and what a revision without that is refused with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bluegreen.errors import RefError
from bluegreen.release.configuration import templates_of
from bluegreen.settings.build import Installer
from bluegreen.source.attributes import ATTRIBUTES
from bluegreen.source.tree import Entry, is_below, parents_of

if TYPE_CHECKING:
    from bluegreen.settings.app import App

# What an installer reads. Not every app has each of them.
DEPENDENCY_FILES = (
    *("cpanfile", "cpanfile.snapshot"),
    *("Makefile.PL", "Build.PL", "dist.ini", "META.json", "META.yml"),
)
# Tarballs: a build with one of them fetches none.
VENDORED = "vendor/cache"
# Those in which each installer finds what to install.
_NAMES_DEPENDENCIES = {
    Installer.CARTON: ("cpanfile",),
    Installer.CPANM: ("cpanfile", "Makefile.PL", "Build.PL", "META.json", "META.yml"),
    Installer.NONE: (),
}


@dataclass(frozen=True)
class Needed:
    """What a deploy needs from a repository; all paths are from the repository's root.

    :param root: the app's directory.
    :param paths: needed if they are committed. Of a directory, ``export-ignore`` may hide some files.
    :param whole: directories, needed with every file in them; those that begin with a dot are git's.
    :param started_from: the PSGI file, or the script; empty if that does not count.
    :param setting: which setting names it.
    :param names_dependencies: names of files in which the installer finds what to install.
    """

    root: str = "."
    paths: Sequence[str] = ()
    whole: Sequence[str] = ()
    started_from: str = ""
    setting: str = ""
    names_dependencies: Sequence[str] = ()

    def below(self, directory: str) -> Needed:
        """Return what is needed from a submodule in this directory."""

        def inside(paths: Iterable[str]) -> tuple[str, ...]:
            start = f"{directory}/"
            return tuple(path.removeprefix(start) for path in paths if path.startswith(start))

        return Needed(next(iter(inside([self.root])), "."), inside(self.paths), inside(self.whole))

    def check(self, revision: str, committed: Sequence[Entry], left_out: Collection[str]) -> None:
        """Make sure that a revision has what is needed.

        :param left_out: paths that ``export-ignore`` hides.
        :raises RefError: with the path, and what to do.
        """
        self._check_root(revision, committed)
        self._check_kept(committed, left_out)
        self._check_dependencies(revision, {entry.path for entry in committed})

    def _check_root(self, revision: str, committed: Sequence[Entry]) -> None:
        """Make sure that the app's directory is there; in a submodule it is looked for in that one."""
        root = self.root
        if root == "." or any(entry.path.startswith(f"{root}/") for entry in committed):
            return
        if any(entry.is_submodule and is_below(root, entry.path) for entry in committed):
            return
        raise RefError(f"there is no directory {root} in {revision[:12]}; correct server.root, or commit it")

    def _check_kept(self, committed: Sequence[Entry], left_out: Collection[str]) -> None:
        """Make sure that nothing that is needed is committed but left out of the source."""
        for path in (*([] if self.root == "." else [self.root]), *self.paths):
            below = {entry.path for entry in committed if is_below(entry.path, path)}
            if below and below.issubset(left_out):
                raise _hidden(path)
        for directory in self.whole:
            for entry in committed:
                if is_below(entry.path, directory) and entry.path in left_out and entry.name[0] != ".":
                    raise _hidden(entry.path)

    def _check_dependencies(self, revision: str, paths: Collection[str]) -> None:
        """Make sure that what names the dependencies is not beside the app, where nothing looks for it."""
        start = "" if self.root == "." else f"{self.root}/"
        names = self.names_dependencies
        if any(f"{start}{name}" in paths for name in names):
            return
        for directory in reversed(parents_of(self.started_from)):
            beside = [name for name in names if f"{directory}/{name}" in paths]
            if beside and directory.startswith(start):
                raise RefError(
                    f"{directory}/{beside[0]} of {revision[:12]} would not be used, because server.root is "
                    f"{self.root}; set server.root: {directory} and {self.setting}: "
                    f"{self.started_from.removeprefix(f'{directory}/')}, or dependencies.installer: none"
                )


# Of a repository of which nothing is known.
NOTHING = Needed()


def _hidden(path: str) -> RefError:
    return RefError(f"{ATTRIBUTES} keeps {path} from the release; remove its export-ignore there")


def needed_of(app: App) -> Needed:
    """Return what a deploy of an app needs."""
    server = app.server
    installs = app.dependencies.installer is not Installer.NONE
    files = (server.in_release(file) for file in DEPENDENCY_FILES) if installs else ()
    return Needed(
        root=server.root,
        paths=(*server.needed_paths, *files, *templates_of(app)),
        whole=(server.in_release(VENDORED),) if installs else (),
        started_from=server.in_release(server.started_from),
        setting="server.script" if server.runs_script else "server.psgi",
        names_dependencies=_NAMES_DEPENDENCIES[app.dependencies.installer],
    )
