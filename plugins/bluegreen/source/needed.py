"""What a deploy of an app needs from its repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.release.configuration import templates_of
from bluegreen.settings.build import Installer

if TYPE_CHECKING:
    from bluegreen.settings.app import App

# What an installer reads. Not every app has each of them.
DEPENDENCY_FILES = (
    *("cpanfile", "cpanfile.snapshot", "vendor/cache"),
    *("Makefile.PL", "Build.PL", "dist.ini", "META.json", "META.yml"),
)


def needed_paths(app: App) -> tuple[str, ...]:
    """Return the paths that a deploy needs if they are committed; export-ignore must not hide them."""
    reads = () if app.dependencies.installer is Installer.NONE else DEPENDENCY_FILES
    return (
        *app.server.needed_paths,
        *(app.server.in_release(file) for file in reads),
        *templates_of(app),
    )
