"""The distributions that a revision needs, and what a build would fetch of them."""

from __future__ import annotations

import re

from agent.droplet.dependencies import CPANFILE, META
from agent.droplet.dependencies import PROGRAMS as PROGRAMS_THAT_NAME
from agent.droplet.installers import INDEX
from bluegreen.checks.facts import Source
from bluegreen.settings.app import App
from bluegreen.settings.build import Installer

# The programs of each installer, and what builds modules written in C. Carton's snapshot is read by Carton,
# and installed by cpanm.
PROGRAMS = {Installer.CARTON: ("carton", "cpanm"), Installer.CPANM: ("cpanm",), Installer.NONE: ()}
COMPILERS = ("cc", "make")

VENDORED = "vendor/cache/"
DISTRIBUTIONS = "authors/id/"

_PATHNAME = re.compile(r"^\s+pathname:\s+(\S+)\s*$", re.MULTILINE)


def distributions(snapshot: str) -> list[str]:
    """Return the distributions that a ``cpanfile.snapshot`` lists, as paths below ``authors/id/``."""
    return _PATHNAME.findall(snapshot)


def is_vendored(source: Source) -> bool:
    """Whether the repository contains distributions; then nothing is fetched."""
    return any(path.startswith(VENDORED) for path in source.app_files)


def not_vendored(source: Source) -> list[str]:
    """Return the distributions of the snapshot that the repository does not contain."""
    return [
        path
        for path in distributions(source.snapshot or "")
        if f"{VENDORED}{DISTRIBUTIONS}{path}" not in source.app_files
    ]


def has_cpanfile(source: Source) -> bool:
    """Whether there is a ``cpanfile``."""
    return source.cpanfile is not None


def fetched(app: App, source: Source) -> list[str]:
    """Return the files below a CPAN mirror that a build fetches, as far as the source names them."""
    installer = app.dependencies.installer
    if is_vendored(source):
        return []
    if installer is Installer.CARTON and has_cpanfile(source):
        return [f"{DISTRIBUTIONS}{path}" for path in distributions(source.snapshot or "")]
    return [INDEX] if installer is Installer.CPANM and _names_dependencies(source) else []


def is_named_by_dist_ini_only(source: Source) -> bool:
    """Whether the dependencies are named in a file that cpanm does not read."""
    return "dist.ini" in source.app_files and not _names_dependencies(source)


def _names_dependencies(source: Source) -> bool:
    """Whether there is a file in which cpanm finds what to install."""
    return not source.app_files.isdisjoint((CPANFILE, *PROGRAMS_THAT_NAME, *META))
