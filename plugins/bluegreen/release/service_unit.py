"""The app's systemd unit: one file pairs a release, its configuration and the server's command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluegreen.release.cage import CAGE
from bluegreen.templates import UnitText, render_unit

# What needs no quotes in a unit.
PLAIN = re.compile(r"[A-Za-z0-9_./:@=,+-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ServiceUnit:
    """What an app's service runs on one droplet.

    :param system_name: what the app is called there, also its user.
    :param configuration: the digest of the configuration.
    :param directory: the working directory, in the release.
    :param environment: variables that ``/etc/default/<app>``, and then the configuration, may replace.
    :param command: the words of the server's command; the first is searched in ``PATH`` of the environment.
    :param stop_signal: the server finishes the requests in progress after that, for example ``SIGQUIT``.
    :param stop_timeout: seconds until systemd ends what is left.
    :param memory_max: in systemd's words, for example ``512M``.
    :param delivers_files: whether the configuration has files.
    """

    system_name: str
    release: str
    configuration: str
    directory: str
    environment: Mapping[str, str]
    command: Sequence[str]
    stop_signal: str
    stop_timeout: int
    memory_max: str | None
    delivers_files: bool

    @property
    def text(self) -> str:
        """The unit.

        :raises ValueError: if a value cannot be part of one.
        """
        return render_unit(
            "droplet/app.service.j2",
            **self.surroundings,
            command=UnitText(command_line(self.command)),
            stop_signal=self.stop_signal,
            stop_timeout=self.stop_timeout,
            memory_max=self.memory_max,
        )

    @property
    def surroundings(self) -> dict[str, Any]:
        """What the templates of all units of a release have in common: its cage, environment, directory.

        :raises ValueError: if a value cannot be part of a unit.
        """
        return {
            "system_name": self.system_name,
            "release": self.release,
            "directory": self.directory,
            "environment": [UnitText(unit_value(one)) for one in self._assignments()],
            "environment_files": [UnitText(one) for one in self._environment_files()],
            "bound": [UnitText(one) for one in self._bound()],
            "cage": CAGE,
        }

    @property
    def load_properties(self) -> list[str]:
        """Those properties of the unit that count for loading, as ``systemd-run --property=`` takes them.

        :raises ValueError: if a value cannot be part of one.
        """
        return [
            *CAGE,
            f"WorkingDirectory={self.directory}",
            *(f"Environment={_quoted(one)}" for one in self._assignments()),
            *(f"EnvironmentFile={one}" for one in self._environment_files()),
            *(f"BindReadOnlyPaths={one}" for one in self._bound()),
            *([f"MemoryMax={self.memory_max}"] if self.memory_max else []),
        ]

    @property
    def _configuration(self) -> str:
        return f"/var/lib/bluegreen/{self.system_name}/configurations/{self.configuration}"

    def _assignments(self) -> list[str]:
        return [f"{name}={value}" for name, value in sorted(self.environment.items())]

    def _environment_files(self) -> list[str]:
        # Later ones count more. The first is people's, and need not be there.
        return [f"-/etc/default/{self.system_name}", f"{self._configuration}/environment"]

    def _bound(self) -> list[str]:
        # Without delivered files, what people have put there by hand is what the app finds.
        return [f"{self._configuration}/files:/etc/{self.system_name}"] if self.delivers_files else []


def command_line(words: Sequence[str]) -> str:
    """Return a command as ``ExecStart=`` takes it; a program without a path is searched in ``PATH``.

    :raises ValueError: for a control character.
    """
    # Where the program is not named by its path, systemd would not look into the release.
    words = words if words[0].startswith("/") else ["/usr/bin/env", *words]
    return " ".join(map(unit_word, words))


def unit_word(word: str) -> str:
    """Return a word of a command as ``ExecStart=`` takes it: it reaches the program exactly as it is.

    :raises ValueError: for a control character.
    """
    # A single $ would begin a variable, and a word ; by itself would begin another command.
    return unit_value(word.replace("$", "$$"))


def unit_value(value: str) -> str:
    """Return a value of a setting that takes several, such as ``Environment=``, as one of them.

    :raises ValueError: for a control character.
    """
    # A single % would begin one of systemd's specifiers.
    return _quoted(value.replace("%", "%%"))


def _quoted(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError(f"{value!r:.60} cannot be part of a systemd unit: it has a control character")
    if PLAIN.fullmatch(value):
        return value
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))
