"""What was healthy on a droplet: each pairing of a release with what it ran with."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.droplet.app_paths import AppPaths
from agent.droplet.guests import in_use
from agent.droplet.health import Service
from agent.droplet.job_log import say
from agent.droplet.process_units import UnitFiles
from agent.droplet.tree import read_regular
from agent.protocol import AgentError, Code, Json
from agent.release_name import DIGEST, RELEASE, is_release, revision_of
from agent.system import digest, remove_tree, write_atomically

# Bytes that are read of a record, and of a service's unit.
LARGEST_RECORD = 1 << 20
# A record's name: its release, and the first digits of the pairing's digest.
NAME = re.compile(rf"{RELEASE}\.[0-9a-f]{{16}}")


@dataclass(frozen=True)
class Pairing:
    """What a droplet runs: a release, with a configuration (its digest), as its units say.

    :param unit_text: the service's unit.
    :param units: those of the app's processes and timers: pairs of file name and text, in their order.
    """

    release: str
    configuration: str
    unit_text: str
    units: tuple[tuple[str, str], ...] = ()

    @property
    def texts(self) -> list[str]:
        """The text of every unit; each names the release."""
        return [self.unit_text, *(text for _, text in self.units)]

    @property
    def digest(self) -> str:
        """The SHA-256 of the units; 64 hexadecimal digits."""
        text = json.dumps([self.unit_text, *self.units]) if self.units else self.unit_text
        return digest(text.encode())

    @property
    def as_json(self) -> Json:
        """Return it as an answer, without the units: see ``messages.Started``."""
        return {"release": self.release, "configuration": self.configuration, "pairing": self.digest}


@dataclass(frozen=True)
class Record:
    """A pairing that was healthy on this droplet.

    :param service: how it was asked, as in ``messages.ServiceRecord``.
    :param at: when it was healthy last, in seconds since the epoch.
    :param confirmed: whether a switch to it is known to have been confirmed.
    """

    pairing: Pairing
    service: Json
    at: float = 0.0
    confirmed: bool = False

    @property
    def asked(self) -> Service:
        """How it is found out whether it is healthy."""
        return Service.of({**self.service, "revision": revision_of(self.pairing.release)})


class Activated:
    """The records in an app's directory ``activated``, a file for each pairing.

    The file ``started`` names the pairing that the service was started with; it is not there while that
    changes.
    """

    def __init__(self, app: AppPaths) -> None:
        self.app = app
        self.directory = app.root / "activated"

    def require(self, pairing: Pairing) -> None:
        """Make sure that what is to run is on the droplet.

        :raises AgentError: with the code ``failed``.
        """
        if not (self.app.releases / pairing.release).is_dir():
            raise AgentError(Code.FAILED, f"the release {pairing.release} is not on this droplet")
        if not (self.app.configurations / pairing.configuration).is_dir():
            message = f"the configuration {pairing.configuration[:16]} is not on this droplet"
            raise AgentError(Code.FAILED, message)

    def record(self, pairing: Pairing, service: Json) -> None:
        """Note that a pairing is healthy now. What is confirmed stays so."""
        known = self._read(self._name(pairing))
        self._write(Record(pairing, service, time.time(), bool(known and known.confirmed)))

    def confirm(self, pairing: str) -> None:
        """Note that a switch to a pairing was confirmed; nothing happens if it is not on the droplet.

        :param pairing: its digest.
        """
        known = self.find(pairing)
        if known and not known.confirmed:
            self._write(replace(known, confirmed=True))

    def all(self) -> list[Record]:
        """Return what was healthy and is still there as a whole, the latest first."""
        found = [one for name in self._names() if (one := self._read(name)) is not None]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def find(self, pairing: str) -> Record | None:
        """Return the record of the pairing with this digest, if it is there as a whole."""
        return next((one for one in self.all() if one.pairing.digest == pairing), None)

    def fallback(self, pairing: Pairing, kept: str) -> Pairing | None:
        """Return what the droplet goes back to if something is not healthy; None if there is nothing.

        It may be the same release with another configuration.

        :param kept: digest of the pairing that a rollback goes to; else it is the last that was healthy.
        """
        others = [one.pairing for one in self.all() if one.pairing != pairing]
        return next((one for one in others if one.digest == kept), next(iter(others), None))

    def started(self) -> str | None:
        """Return the digest of the pairing that the service was started with; None if that is not certain."""
        try:
            unit = read_regular(self.app.paths.units / self.app.service, LARGEST_RECORD).decode()
            found = read_regular(self.directory / "started", 100).decode(errors="replace").strip()
        except (OSError, ValueError):
            return None
        # Whoever edits a unit by hand may have restarted the service.
        units = tuple(UnitFiles(self.app).texts().items())
        return found if found == Pairing("", "", unit, units).digest else None

    def note_started(self, pairing: Pairing | None) -> None:
        """Note what the service was just started with; None before that changes."""
        if pairing is None:
            (self.directory / "started").unlink(missing_ok=True)
        else:
            write_atomically(self.directory / "started", pairing.digest.encode())

    def prune(self, keep: int, kept: str, current: Pairing) -> None:
        """Remove releases and configurations that no rollback needs any more.

        Later ones may have been healthy here, and rejected all the same. So those that were confirmed count
        by themselves, and what a rollback goes to by default stays whatever else there is. Failed
        releases do not count; the latest of them is kept for whoever wants to look at it.
        What a one-off command runs with stays, too.

        :param keep: how many releases stay of those that were healthy, and of those that were confirmed.
        :param kept: digest of the pairing that a rollback goes back to.
        :param current: what runs.
        """
        known = self.all()
        needed = [one for one in known if one.pairing.digest in (kept, current.digest)]
        for group in (known, [one for one in known if one.confirmed]):
            # Of a release that was started with several configurations, the last one.
            latest = {one.pairing.release: one for one in reversed(group)}
            needed += sorted(latest.values(), key=lambda one: one.at, reverse=True)[:keep]
        used, used_configurations = in_use(self.app)
        releases = {current.release, *(one.pairing.release for one in needed), *used}
        self._remove(*({one.pairing.release for one in known} - releases))
        self.remove_failed(current.release)
        for name in {*self._names()} - {self._name(one.pairing) for one in needed}:
            (self.directory / name).unlink(missing_ok=True)
        configurations = {
            current.configuration,
            *(one.pairing.configuration for one in needed),
            *used_configurations,
        }
        for path in self.app.configurations.glob("*"):
            if re.fullmatch(DIGEST, path.name) and path.name not in configurations:
                _remove(path)

    def remove_failed(self, *spared: str) -> None:
        """Remove the releases that were never healthy here, but for the latest of them.

        :param spared: releases that stay, besides the one that ``current`` leads to.
        """
        try:
            running = (self.app.root / "current").readlink().name
        except OSError:
            running = ""
        healthy = {name.partition(".")[0] for name in self._names()}
        failed = [name for name in self._releases() if name not in healthy]
        used, _ = in_use(self.app)
        self._remove(*(name for name in failed[1:] if name not in (*spared, running, *used)))

    def _remove(self, *releases: str) -> None:
        for release in releases:
            say(f"removing the release {release}")
            for name in self._names():
                if name.startswith(f"{release}."):
                    (self.directory / name).unlink(missing_ok=True)
            _remove(self.app.releases / release)

    def _write(self, one: Record) -> None:
        about = {
            "configuration": one.pairing.configuration,
            "unit_text": one.pairing.unit_text,
            **({"units": dict(one.pairing.units)} if one.pairing.units else {}),
            "service": one.service,
            "at": one.at,
            "confirmed": one.confirmed,
        }
        write_atomically(self.directory / self._name(one.pairing), json.dumps(about).encode())

    def _read(self, name: str) -> Record | None:
        """Return a record; None unless root alone could write it, and everything that it names is there."""
        try:
            about = (self.directory / name).lstat()
            found: Any = json.loads(read_regular(self.directory / name, LARGEST_RECORD))
            units = tuple(sorted(found.get("units", {}).items()))
            pairing = Pairing(name.partition(".")[0], found["configuration"], found["unit_text"], units)
            one = Record(pairing, found["service"], float(found["at"]), found["confirmed"] is True)
            is_whole = re.fullmatch(DIGEST, pairing.configuration) and self._name(pairing) == name
            self.require(pairing)
            # Without it, nobody could find out whether it is healthy again.
            _ = one.asked
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AgentError):
            return None
        is_roots = about.st_uid == os.geteuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return one if is_whole and is_roots else None

    @staticmethod
    def _name(pairing: Pairing) -> str:
        return f"{pairing.release}.{pairing.digest[:16]}"

    def _names(self) -> list[str]:
        return [path.name for path in self.directory.glob("*") if NAME.fullmatch(path.name)]

    def _releases(self) -> list[str]:
        # All files of a release have the commit's date, so it is known by its inode when it came here.
        return _by_age(self.app.releases, lambda path: path.lstat().st_ctime)


def _by_age(directory: Path, age: Callable[[Path], float]) -> list[str]:
    """Return the releases that are named in a directory, the latest first."""
    found = (path for path in directory.glob("*") if is_release(path.name))
    return [path.name for path in sorted(found, key=age, reverse=True)]


def _remove(directory: Path) -> None:
    """Remove a directory; it is renamed first, because half of it must not look like a whole one."""
    partial = directory.with_name(f"{directory.name}.partial.old")
    directory.rename(partial)
    remove_tree(partial)
