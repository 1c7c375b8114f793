"""Whether a service's configuration is as it was delivered. No value leaves the droplet."""

from __future__ import annotations

import re

from agent.droplet.app_paths import AppPaths
from agent.droplet.configuration import digest_on_disk
from agent.facts.bounded import text_of
from agent.protocol import Json
from agent.release_name import DIGEST

LARGEST_UNIT = 1 << 17


def configuration_in_use(app: AppPaths) -> Json | None:
    """Return the configuration that the service's unit names, or None if it names none.

    :return: ``digest``, and ``problem``: what is wrong with its files, or None.
    """
    unit = text_of(str(app.paths.units / app.service), LARGEST_UNIT) or ""
    place = re.escape(f"{app.configurations}/")
    named = re.search(rf"(?m)^EnvironmentFile=-?{place}({DIGEST})/environment$", unit)
    return {"digest": named[1], "problem": problem_of(app, named[1])} if named else None


def problem_of(app: AppPaths, digest: str) -> str | None:
    """Return how a configuration's files are not as they were delivered, or None."""
    directory = app.configurations / digest
    if not directory.is_dir():
        return "it is not there"
    return None if digest_on_disk(directory) == digest else "its files are not as they were delivered"
