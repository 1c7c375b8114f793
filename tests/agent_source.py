"""What the agent's zip is made from, for other interpreters and machines to make it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bluegreen.agent_bundle import AGENT_DIRECTORY

ROOT = AGENT_DIRECTORY.parents[1]
# Run beside a copy of the source, with its directory `plugins` in PYTHONPATH.
PRINT_DIGEST = "from bluegreen.agent_bundle import agent_bundle; print(agent_bundle().sha256)"


def source_files() -> Iterator[Path]:
    """Return the files by their paths in the repository."""
    for name in ("__init__.py", "agent_bundle.py"):
        yield Path("plugins/bluegreen") / name
    for path in sorted(AGENT_DIRECTORY.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT)
