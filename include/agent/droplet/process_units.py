"""The units of an app's processes and timers, as files on a droplet; systemd is not asked here.

A process has ``app-shop-worker@.service``, a template for as many instances as it counts. A timer has
``app-shop-cleanup.timer`` and ``app-shop-cleanup.service``. An app's id has no hyphen, so the units of two
apps are never mistaken for each other's. What systemd does not know stands in the section ``X-Bluegreen`` of
the template, or of the timer: systemd ignores it.

A file of such a name that no deploy has written is left alone, and in the way. What a deploy has written is
known by its description, which names the process or timer, and the app.

What starts with the droplet has a link in ``multi-user.target.wants`` or ``timers.target.wants``, as
``systemctl enable`` makes it. The links are made and removed here: systemd does not remove those of a unit
that is not there any more, and none may come back after a power cut.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.droplet.tree import read_regular
from agent.processes import MOST_NAMES, NAME, Kind, RunOn
from agent.protocol import AgentError, Code, Json
from agent.release_name import RELEASE
from agent.system import digest, sync_directory, write_atomically

# Characters of one unit.
LARGEST_UNIT = 20_000
# By the last part of a unit's name: the target whose links start it with the droplet.
TARGETS = {".service": "multi-user.target.wants", ".timer": "timers.target.wants"}


@dataclass(frozen=True)
class ProcessUnit:
    """A process or a timer, as its unit describes it.

    :param file: name of the unit file: of the template of a process, or of a timer.
    """

    app: str
    name: str
    file: str
    text: str

    @property
    def kind(self) -> Kind:
        """What it is."""
        return Kind.TIMER if self.file.endswith(".timer") else Kind.PROCESS

    @property
    def units(self) -> list[str]:
        """What is started: its instances, or the timer."""
        if self.kind is Kind.TIMER:
            return [self.file]
        return [f"{self.app}-{self.name}@{number}.service" for number in range(1, self.count + 1)]

    @property
    def count(self) -> int:
        """How many of it a droplet runs."""
        return int(self._said("Count", r"[0-9]{1,3}") or 1)

    @property
    def droplets(self) -> RunOn:
        """Which droplets of the live color run it."""
        return RunOn.ONE if self._said("Droplets", r"[a-z]+") == RunOn.ONE else RunOn.ALL

    @property
    def overlap(self) -> bool:
        """Whether both colors may run it at once."""
        return self._said("Overlap", r"[a-z]+") == "yes"

    @property
    def program(self) -> str:
        """The path of its program; empty if it is searched in ``PATH``."""
        return self._said("Program", r"/\S+")

    @property
    def calendar(self) -> str:
        """When a timer runs, in systemd's words."""
        return self._said("OnCalendar", r"[^\n]+")

    def _said(self, key: str, pattern: str) -> str:
        found = re.search(rf"(?m)^{key}=({pattern})$", self.text)
        return found[1] if found else ""


def units_in(app: str, texts: Mapping[str, str]) -> dict[str, ProcessUnit]:
    """Return the processes and timers that unit files describe, by their names.

    :param texts: of the files, by file name.
    """
    found = {}
    for file, text in texts.items():
        match = re.fullmatch(rf"{re.escape(app)}-({NAME})(@\.service|\.timer)", file)
        if match:
            found[match[1]] = ProcessUnit(app, match[1], file, text)
    return found


def units_of(app: str, request: Json) -> tuple[tuple[str, str], ...]:
    """Return the unit files of a request, by file name.

    :raises AgentError: with the code ``bad_request``.
    """
    found = request.get("units")
    if not isinstance(found, dict) or len(found) > 2 * MOST_NAMES:
        raise AgentError(Code.BAD_REQUEST, f"units: it is no object of at most {2 * MOST_NAMES} unit files")
    for file, text in found.items():
        if not is_unit_file(app, file):
            raise AgentError(Code.BAD_REQUEST, f"units: {file!r:.60} is no unit of a process or timer")
        if not isinstance(text, str) or not re.fullmatch(rf"[^\x00]{{1,{LARGEST_UNIT}}}", text):
            raise AgentError(Code.BAD_REQUEST, f"units: the text of {file} is not usable")
        # It would be in the way of the next release.
        if not is_own(app, file, text):
            raise AgentError(Code.BAD_REQUEST, f"units: the description of {file} does not name it")
    return tuple(sorted(found.items()))


def is_unit_file(app: str, file: str) -> bool:
    """Whether a name is one of a unit file of a process or timer of the app."""
    return bool(re.fullmatch(rf"{re.escape(app)}-{NAME}(@?\.service|\.timer)", file))


def is_own(app: str, file: str, text: str) -> bool:
    """Whether a unit file is one that a deploy has written for a process or timer of an app."""
    name = re.fullmatch(rf"{re.escape(app)}-({NAME})(?:@?\.service|\.timer)", file)
    if name is None:
        return False
    what = rf"(?:Process|Timer) {re.escape(name[1])} of the Perl application {re.escape(app)}"
    return bool(re.search(rf"(?m)^Description={what}, release ", text))


def release_in(text: str) -> str | None:
    """Return the release whose directory a unit names, or None."""
    found = re.search(rf"/releases/({RELEASE})(?![^/\s\"])", text)
    return found[1] if found else None


def units_digest(units: Iterable[tuple[str, str]]) -> str | None:
    """Return the SHA-256 of unit files, in hexadecimal digits; None if there are none.

    :param units: pairs of file name and text.
    """
    found = sorted(units)
    return digest(json.dumps(found).encode()) if found else None


class UnitFiles:
    """The unit files of an app's processes and timers on this droplet."""

    def __init__(self, app: AppPaths) -> None:
        self.app = app
        self.directory = app.paths.units

    def texts(self) -> dict[str, str]:
        """Return the text of each unit file that a deploy has written, by file name."""
        read = {path.name: _text_of(path) for path in sorted(self._paths())}
        return {name: text for name, text in read.items() if text and is_own(self.app.name, name, text)}

    def strangers(self) -> list[str]:
        """Return the names of files and links that are called like these units, and are no deploy's."""
        own = self.texts()
        return sorted(path.name for path in self._paths() if path.name not in own)

    def require_own(self, names: Collection[str] | None = None) -> None:
        """Refuse to replace, or to remove, what no deploy has written.

        :param names: of the files that are to be written; by default nothing else may be there.
        :raises AgentError: with the code ``failed``, naming the file.
        """
        for name in self.strangers():
            if names is None or name in names:
                raise AgentError(
                    Code.FAILED,
                    f"{self.directory / name} was not written by a deploy, and has the name of a unit of "
                    "this app's processes and timers; nothing was changed: rename it, or remove it",
                )

    def known(self) -> dict[str, ProcessUnit]:
        """Return the processes and timers by name."""
        return units_in(self.app.name, self.texts())

    def replace(self, units: Mapping[str, str]) -> None:
        """Let these be a deploy's only unit files; the caller has stopped what they replace, or asked for it.

        :raises OSError: if one cannot be written or removed.
        """
        for file, text in units.items():
            path = self.directory / file
            if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode():
                write_atomically(path, text.encode(), 0o644)
        for name in self.texts():
            if name not in units:
                (self.directory / name).unlink()
        sync_directory(self.directory)

    def enabled(self) -> set[str]:
        """Return the units that start with the droplet."""
        return {link.name for link in self._links()}

    def enable(self, units: Collection[str]) -> None:
        """Let units start with the droplet."""
        for unit in units:
            directory = self.directory / TARGETS[Path(unit).suffix]
            directory.mkdir(exist_ok=True)
            link, target = directory / unit, self.directory / re.sub(r"@\d+\.", "@.", unit)
            if not link.is_symlink() or os.readlink(link) != str(target):  # noqa: PTH115
                link.unlink(missing_ok=True)
                link.symlink_to(target)
                sync_directory(directory)

    def disable(self, kept: Collection[str]) -> None:
        """Let no unit but some start with the droplet, not even after a power cut."""
        for link in list(self._links()):
            if link.name not in kept:
                link.unlink()
                sync_directory(link.parent)

    def _paths(self) -> Iterator[Path]:
        for path in list(self.directory.glob(f"{self.app.name}-*")):
            if is_unit_file(self.app.name, path.name):
                yield path

    def _links(self) -> Iterator[Path]:
        for link in self.directory.glob(f"*.wants/{self.app.name}-*"):
            if link.suffix in TARGETS:
                yield link


def _text_of(path: Path) -> str | None:
    """Return the text of a file; None if it is a link, or cannot be read."""
    try:
        return read_regular(path, LARGEST_UNIT * 4).decode(errors="replace")
    except OSError:
        return None
