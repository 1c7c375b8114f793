"""The agent as the one file that is sent to machines."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from agent.installation import file_name
from agent.paths import AGENTS
from agent.protocol import Verb

AGENT_DIRECTORY = Path(__file__).resolve().parents[2] / "include" / "agent"
# The earliest date that a zip can hold: what is packed says the contents, not when it was made.
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_SUFFIXES = (".py", ".pl", ".psgi", ".service", ".conf", ".sh", ".json")
_MAIN = "__main__.py"
# Sent beside the zip, not in it.
_FROM_MEMORY = "from_memory.py"


@dataclass(frozen=True)
class AgentBundle:
    """The zip, and its SHA-256 in hexadecimal digits."""

    data: bytes
    sha256: str

    @cached_property
    def compressed(self) -> bytes:
        """The zip as it is sent to be run from memory: a third of its size, for each question."""
        return zlib.compress(self.data, 9)

    @property
    def name(self) -> str:
        """Its file name on a machine."""
        return file_name(self.sha256)

    @property
    def path(self) -> str:
        """Where it is installed on a machine."""
        return f"/{AGENTS}/{self.name}"


@cache
def agent_bundle() -> AgentBundle:
    """Return the bundle of this project's version."""
    return pack(AGENT_DIRECTORY)


@cache
def _memory_runner() -> str:
    """Return the program that runs a bundle without writing it anywhere."""
    return (AGENT_DIRECTORY / _FROM_MEMORY).read_text(encoding="utf-8")


def memory_command(verb: Verb, bundle: AgentBundle | None = None) -> list[str]:
    """Return the command that runs a verb from memory; it reads :func:`memory_input`.

    :param bundle: which version; default: this project's.
    """
    bundle = bundle or agent_bundle()
    runner = ["python3", "-I", "-B", "-c", _memory_runner(), bundle.name, str(len(bundle.compressed))]
    return [*runner, verb.value, "-"]


def memory_input(request: Mapping[str, Any], bundle: AgentBundle | None = None) -> bytes:
    """Return the agent and a request, for the standard input of :func:`memory_command`.

    :param bundle: which version; default: this project's.
    """
    return (bundle or agent_bundle()).compressed + json.dumps(request).encode()


@cache
def droplet_version() -> str:
    """Return the digest of the part of the agent that builds releases, and decides what is in them."""
    digest = hashlib.sha256()
    for name, path in sorted(_files(AGENT_DIRECTORY).items()):
        if name.startswith("agent/droplet/"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def pack(directory: Path) -> AgentBundle:
    """Pack the agent's directory: the same bytes wherever and whenever that is done.

    Not compressed, so that ``less`` and ``grep`` on a machine show plain Python.
    """
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(_files(directory).items()):
            member = zipfile.ZipInfo(name, _NO_DATE)
            # Unix, whatever packs it; readable by everybody.
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, path.read_bytes())
    data = output.getvalue()
    return AgentBundle(data, hashlib.sha256(data).hexdigest())


def _files(directory: Path) -> dict[str, Path]:
    """Python runs ``__main__.py`` of the zip itself, which imports the rest as the package ``agent``."""
    paths = [path for path in directory.rglob("*") if path.suffix in _SUFFIXES and path.is_file()]
    files = {f"agent/{path.relative_to(directory).as_posix()}": path for path in paths}
    files[_MAIN] = files.pop(f"agent/{_MAIN}")
    del files[f"agent/{_FROM_MEMORY}"]
    return files
