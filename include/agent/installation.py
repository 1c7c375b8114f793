"""The agent's own file on a machine: ``/usr/local/lib/bluegreen/agent-<digest>.pyz``, a version a file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import agent
from agent.call import Call
from agent.paths import Paths
from agent.protocol import AgentError, Code, Json
from agent.system import digest, write_atomically

# Lines that are shown of what a hand has changed in an installed file.
DIFFERENCE_LINES = 60
# Hexadecimal digits of the zip's SHA-256 in its name.
DIGEST_LENGTH = 16
_NAME = re.compile(rf"agent-[0-9a-f]{{{DIGEST_LENGTH}}}\.pyz")


def file_name(sha256: str) -> str:
    """Return the name of a version's file.

    :param sha256: of the zip, in hexadecimal digits.
    """
    return f"agent-{sha256[:DIGEST_LENGTH]}.pyz"


def install_agent(call: Call, _request: Json) -> Json:
    """Install the version that runs this, and remove versions that nothing names.

    Request: nothing. Answer: ``path``, where it is; ``changed``; ``pruned``, names of the files that went.
    Codes: ``not_installed``. Killed anywhere, it leaves the file whole or not there; the next call finishes.
    """
    installation = Installation(call.paths)
    changed = installation.install()
    return {"path": str(installation.path), "changed": changed, "pruned": installation.prune()}


class Installation:
    """The version of the agent that runs this code, and where it belongs."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    @cached_property
    def data(self) -> bytes:
        """The zip that this code was read from, which may be in memory."""
        return Path(agent.__path__[0]).parent.read_bytes()

    @property
    def path(self) -> Path:
        """Where this version is, or would be."""
        return self.paths.agents / file_name(digest(self.data))

    def install(self) -> bool:
        """Put it there; False if it was.

        :raises AgentError: with the code ``not_installed``.
        """
        with contextlib.suppress(OSError):
            if self.path.read_bytes() == self.data:
                return False
        try:
            # Nothing runs half an agent, and a machine that loses power does not boot with an empty file.
            write_atomically(self.path, self.data, 0o755)
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror}"
            raise AgentError(Code.NOT_INSTALLED, message) from None
        return True

    def difference(self) -> list[str] | None:
        """How the installed file differs from this version, a line of a diff each; None if it does not.

        The list is empty if the file is not there, and has at most ``DIFFERENCE_LINES`` lines.
        """
        try:
            there = self.path.read_bytes()
        except OSError:
            return []
        return None if there == self.data else _difference(there, self.data)[:DIFFERENCE_LINES]

    def prune(self) -> list[str]:
        """Remove the versions that no unit and no process names, and return their names.

        A run whose version goes in between two of its calls installs it again.
        """
        kept = {self.path.name, *self._named()}
        pruned = [path for path in sorted(self.paths.agents.glob("agent-*.pyz")) if path.name not in kept]
        for path in pruned:
            path.unlink()
        return [path.name for path in pruned]

    def _named(self) -> Iterator[str]:
        """Versions that a timer, a long job or the unit of the next boot will run, or a process runs now."""
        units = (*self.paths.units.glob("bluegreen*"), *self.paths.transient_units.glob("*.service"))
        for file in (*units, *Path("/proc").glob("[0-9]*/cmdline")):
            with contextlib.suppress(OSError):
                yield from _NAME.findall(file.read_text(errors="replace"))


def _difference(there: bytes, expected: bytes) -> list[str]:
    # Few calls need it, and every call would wait for it.
    import difflib

    found, wanted = _members(there), _members(expected)
    lines: list[str] = []
    for name in sorted({*found, *wanted}):
        old, new = found.get(name, "").splitlines(), wanted.get(name, "").splitlines()
        lines += difflib.unified_diff(old, new, f"{name} (is)", f"{name} (should be)", lineterm="", n=1)
    return lines or ["it is packed differently"]


def _members(data: bytes) -> dict[str, str]:
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError):
        return {}
