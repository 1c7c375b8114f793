"""How a release differs from its manifest. Read as nobody: see :mod:`agent.facts.nobody`."""

from __future__ import annotations

import os
from pathlib import Path

from agent.droplet.app_paths import AppPaths
from agent.droplet.manifest import differences
from agent.facts.bounded import COMMAND_SECONDS, LONGEST_LINE, seconds_left
from agent.facts.nobody import as_nobody
from agent.protocol import AgentError, Json
from agent.system import CallDeadline, since_boot

FILES_SHOWN = 20
# Seconds of the time for a comparison in which what was found is handed over, and the least for the rest.
SPARE_SECONDS, LEAST_SECONDS = 2.0, 1.0


def compared(deadline: CallDeadline, app: AppPaths, release: str) -> Json:
    """Compare a release with its manifest, and the manifest with the digest in the release's name.

    :return: ``problem`` (why not everything was compared, or None), ``files`` (the first that differ: each a
        ``path``, empty for the manifest, and ``what`` is wrong) and ``more`` (how many others differ).
    """
    seconds = seconds_left(deadline, COMMAND_SECONDS)
    end = since_boot() + max(LEAST_SECONDS, seconds - SPARE_SECONDS)
    found, why = as_nobody(
        seconds, lambda: _differences(app.releases / release, app.name, release, end), group=app.name
    )
    return found if found is not None else {"problem": why, "files": [], "more": 0}


def _differences(directory: Path, app: str, release: str, end: float) -> Json:
    files: list[Json] = []
    more, problem = 0, None
    try:
        for path, what in differences(directory, app, release.partition("-")[2], end):
            if len(files) < FILES_SHOWN:
                files.append({"path": printable(path), "what": what[:LONGEST_LINE]})
            else:
                more += 1
    except TimeoutError:
        problem = "there was no time to read all of it"
    except (OSError, AgentError) as error:
        problem = printable(str(error))[:LONGEST_LINE]
    return {"problem": problem, "files": files, "more": more}


def printable(text: str) -> str:
    """Return a text that can be sent as JSON, whatever bytes it is made of."""
    return os.fsencode(text).decode(errors="replace")
