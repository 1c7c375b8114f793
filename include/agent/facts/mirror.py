"""Asking a CPAN mirror for files. Every answer has an end."""

from __future__ import annotations

# Python loads it at the first look-up of a name, when a process without rights may not be able to.
import encodings.idna  # noqa: F401
import http.client
import urllib.error
from concurrent.futures import ThreadPoolExecutor

from agent.droplet.app_paths import AppPaths
from agent.droplet.fetch_distributions import Mirror
from agent.droplet.installers import INDEX, kept_tarballs
from agent.droplet.mirrors import default_mirror
from agent.facts.bounded import run, seconds_left
from agent.facts.nobody import as_nobody
from agent.paths import Paths
from agent.protocol import Json
from agent.system import CallDeadline, since_boot

MIRROR_SECONDS, SPARE_SECONDS = 8, 2
REQUESTS_AT_ONCE = 8
# Statuses that say nothing about a file: a login is needed, or too much was asked.
REFUSALS = (401, 403, 407, 429)


def mirror(deadline: CallDeadline, request: Json) -> Json:
    """Return which files the CPAN mirror lacks, as far as there is time to ask; nothing is fetched.

    What a build has kept of the mirror is not asked for.

    :param request: ``app``, ``mirror`` (its URL, or None for the one that a build asks then),
        ``credentials`` (None, or ``login`` and ``password`` for it) and ``paths`` (below it).
    :return: ``url``, ``error`` (why it did not answer, or None), ``missing`` and ``unasked`` (their number).
    """
    url = request["mirror"] or default_mirror(lambda *words: run(deadline, *words))
    if not url:
        return {"url": "", "error": "Carton, which knows one, is not installed", "missing": [], "unasked": 0}
    kept = kept_tarballs(AppPaths.of(Paths(), request), url)
    wanted = [path for path in request["paths"] if path == INDEX or not (kept / path).is_file()]
    seconds = seconds_left(deadline, MIRROR_SECONDS)
    ends = since_boot() + seconds
    # Those that are asked when the time is over may still answer.
    asked = Mirror(url, request["credentials"])
    said, why = as_nobody(seconds + SPARE_SECONDS, lambda: _asked(asked, wanted, ends))
    found = said if said is not None else {"error": why, "missing": [], "unasked": 0}
    return {"url": url, **found}


def _asked(mirror: Mirror, paths: list[str], ends: float) -> Json:
    def ask(path: str) -> bool | str | None:
        return is_on_mirror(mirror, path) if since_boot() < ends else None

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        said = dict(zip(paths, pool.map(ask, paths)))
    return {
        "error": next((one for one in said.values() if isinstance(one, str)), None),
        "missing": [path for path, one in said.items() if one is False],
        "unasked": sum(one is None for one in said.values()),
    }


def is_on_mirror(mirror: Mirror, path: str) -> bool | str:
    """Return whether a mirror has a file, or why it did not answer."""
    try:
        with mirror.opener.open(mirror.question(path, "HEAD"), timeout=MIRROR_SECONDS / 2):
            return True
    except urllib.error.HTTPError as error:
        return f"status {error.code}" if error.code in REFUSALS or error.code >= 500 else False
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
