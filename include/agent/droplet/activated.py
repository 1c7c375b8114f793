"""The releases that were healthy on a droplet, each with what it ran with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.droplet.job_log import say
from agent.protocol import AgentError, Code
from agent.release_name import DIGEST, is_release, revision_of
from agent.system import remove_tree, write_atomically

# Bytes that are read of a record.
LARGEST_RECORD = 1 << 18


@dataclass(frozen=True)
class Pairing:
    """What a service runs: a release, with a configuration (its digest), as its unit says."""

    release: str
    configuration: str
    unit_text: str


class Activated:
    """The records in an app's directory ``activated``.

    A record is a file that is called like its release, and says ``configuration`` and ``unit_text``. The time
    of its last change is when the release was healthy last.
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

    def record(self, pairing: Pairing) -> None:
        """Note that a release is healthy now."""
        about = {"configuration": pairing.configuration, "unit_text": pairing.unit_text}
        write_atomically(self.directory / pairing.release, json.dumps(about).encode())

    def pairings(self) -> list[Pairing]:
        """Return what was healthy and is still there as a whole, the latest first."""
        return [found for name in self._names() if (found := self._read(name)) is not None]

    def fallback(self, pairing: Pairing, kept: str) -> Pairing | None:
        """Return what the droplet goes back to if something is not healthy; None if there is nothing.

        It may be the same release with an earlier configuration.

        :param kept: the revision that a rollback goes to; without one, the last that was healthy.
        """
        others = [one for one in self.pairings() if one != pairing]
        return next((one for one in others if revision_of(one.release) == kept), next(iter(others), None))

    def prune(self, keep: int, kept: str, current: Pairing) -> None:
        """Remove releases and configurations that are not needed any more.

        Failed releases do not count; the latest of them is kept for whoever wants to look at it. Nor does the
        one that a rollback goes back to: later ones may have been healthy here, and rejected all the same.

        :param keep: how many of those that were healthy stay.
        :param kept: the revision that a rollback goes back to.
        :param current: what runs.
        """
        healthy = self._healthy()
        spared = next((name for name in healthy if revision_of(name) == kept), "")
        self._remove(*(name for name in healthy[keep:] if name != spared))
        self.remove_failed(current.release)
        for name in set(self._names()) - set(self._releases()):
            (self.directory / name).unlink(missing_ok=True)
        needed = {current.configuration, *(one.configuration for one in self.pairings())}
        for path in self.app.configurations.glob("*"):
            if re.fullmatch(DIGEST, path.name) and path.name not in needed:
                _remove(path)

    def remove_failed(self, *spared: str) -> None:
        """Remove the releases that were never healthy here, but for the latest of them.

        :param spared: releases that stay, besides the one that ``current`` leads to.
        """
        try:
            running = (self.app.root / "current").readlink().name
        except OSError:
            running = ""
        failed = [name for name in self._releases() if name not in self._healthy()]
        self._remove(*(name for name in failed[1:] if name not in (*spared, running)))

    def _remove(self, *names: str) -> None:
        for name in names:
            say(f"removing the release {name}")
            (self.directory / name).unlink(missing_ok=True)
            _remove(self.app.releases / name)

    def _healthy(self) -> list[str]:
        return [name for name in self._names() if (self.app.releases / name).is_dir()]

    def _read(self, name: str) -> Pairing | None:
        try:
            with (self.directory / name).open("rb") as file:
                found = json.loads(file.read(LARGEST_RECORD))
            pairing = Pairing(name, str(found["configuration"]), str(found["unit_text"]))
            self.require(pairing)
        except (OSError, ValueError, KeyError, TypeError, AgentError):
            return None
        return pairing if re.fullmatch(DIGEST, pairing.configuration) else None

    def _names(self) -> list[str]:
        return _by_age(self.directory, lambda path: path.lstat().st_mtime)

    def _releases(self) -> list[str]:
        # All files of a release have the commit's date, so it is known by its inode when it came here.
        return _by_age(self.app.releases, lambda path: path.lstat().st_ctime)


def _by_age(directory: Path, age: Callable[[Path], float]) -> list[str]:
    """Return the releases that are named in a directory, the latest first."""
    found: Iterator[Path] = (path for path in directory.glob("*") if is_release(path.name))
    return [path.name for path in sorted(found, key=age, reverse=True)]


def _remove(directory: Path) -> None:
    """Remove a directory; it is renamed first, because half of it must not look like a whole one."""
    partial = directory.with_name(f"{directory.name}.partial.old")
    directory.rename(partial)
    remove_tree(partial)
