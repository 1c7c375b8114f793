"""The distributions that a revision needs, and what a build would fetch of them."""

from __future__ import annotations

import re

from bluegreen.checks.facts import Source
from bluegreen.settings.app import App
from bluegreen.settings.build import Installer

# The programs of each installer, and what builds modules written in C. Carton's snapshot is read by Carton,
# and installed by cpanm.
PROGRAMS = {Installer.CARTON: ("carton", "cpanm"), Installer.CPANM: ("cpanm",), Installer.NONE: ()}
COMPILERS = ("cc", "make")

VENDORED = "vendor/cache/"
DISTRIBUTIONS = "authors/id/"
# The index of a CPAN mirror, which an installer that has no snapshot asks first.
INDEX = "modules/02packages.details.txt.gz"

_PATHNAME = re.compile(r"^\s+pathname:\s+(\S+)\s*$", re.MULTILINE)


def distributions(snapshot: str) -> list[str]:
    """Return the distributions that a ``cpanfile.snapshot`` lists, as paths below ``authors/id/``."""
    return _PATHNAME.findall(snapshot)


def is_vendored(source: Source) -> bool:
    """Whether the repository contains distributions; then an installer looks there first."""
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
    if installer is Installer.CARTON and has_cpanfile(source):
        return [f"{DISTRIBUTIONS}{path}" for path in not_vendored(source)]
    if installer is Installer.CPANM and has_cpanfile(source) and not is_vendored(source):
        return [INDEX]
    return []
