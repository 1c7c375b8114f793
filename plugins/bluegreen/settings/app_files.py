"""The directories of app files: which files belong to an app, and which to none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bluegreen.patterns import APP_ID

APPS_DIRECTORY = Path(__file__).resolve().parents[3] / "include" / "apps"
# Every setting with its default, to be copied; not an app itself.
REFERENCE = APPS_DIRECTORY / "my_perl_app.yaml.example"
SUFFIX = ".yaml"
SHOWN = 20

# Other files that may be there: of git, of a mounted volume and of Kubernetes, and for people to read.
_HARMLESS = re.compile(r"\.\..*|\.git.*|\.DS_Store|lost\+found|README(\..*)?|.*\.example")


def apps_directories() -> list[Path]:
    """Return ``include/apps``, or the directories in ``BLUEGREEN_APPS_DIR``, which colons separate."""
    listed = os.environ.get("BLUEGREEN_APPS_DIR") or str(APPS_DIRECTORY)
    return [Path(directory) for directory in listed.split(os.pathsep) if directory]


def app_ids(directory: Path | None = None) -> list[str]:
    """Return the ids of all apps that have a file, sorted; the files themselves may be unusable."""
    directories = [directory] if directory else apps_directories()
    return sorted(
        {name.removesuffix(SUFFIX) for path in directories for name in _names(path) if _is_app_file(name)}
    )


def unused_files() -> list[str]:
    """Return one line for each entry of the directories that is not an app file, with the reason.

    A directory may be missing as long as another one exists: some are mounted only at times.
    """
    directories = apps_directories()
    there = [directory for directory in directories if directory.exists()] or directories
    lines = [line for directory in there for line in _unused(directory)]
    more = [f"{len(lines) - SHOWN} more files are not app files"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more


def _unused(directory: Path) -> Iterator[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(directory))
    except OSError as error:
        yield f"{directory}: cannot be read, so it has no apps: {error.strerror}"
        return
    for name in names:
        if _HARMLESS.fullmatch(name) or _is_app_file(name):
            continue
        why = _why_unused(name, is_directory=(directory / name).is_dir())
        # A name may consist of any bytes, but Airflow has to store the line.
        yield os.fsencode(f"{directory / name}: {why}").decode(errors="replace")


def _why_unused(name: str, *, is_directory: bool) -> str:
    if is_directory:
        return (
            "files in a subdirectory are not read; move them here, or list the subdirectory in "
            "BLUEGREEN_APPS_DIR"
        )
    stem, suffix = Path(name).stem, Path(name).suffix
    if name.startswith(".") or name.endswith("~") or suffix.lower() not in (SUFFIX, ".yml"):
        return f"this is not an app file; an app file is called like its app, and ends with {SUFFIX}"
    if suffix != SUFFIX and re.fullmatch(APP_ID, stem):
        return f"it is not read, because its name does not end with {SUFFIX}; rename it"
    return (
        f"{stem!r} is not an app's name, so it is not read: an app's name is 1 to 26 lower-case letters, "
        "digits and underscores, and begins with a letter; rename the file"
    )


def _is_app_file(name: str) -> bool:
    return name.endswith(SUFFIX) and bool(re.fullmatch(APP_ID, name.removesuffix(SUFFIX)))


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(directory)]
    except OSError:
        return []
