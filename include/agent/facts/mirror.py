"""Asking CPAN's mirrors for distributions. Every answer has an end."""

from __future__ import annotations

# Python loads it at the first look-up of a name, when a process without rights may not be able to.
import encodings.idna  # noqa: F401
import http.client
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from agent.facts.bounded import seconds_left
from agent.facts.nobody import as_nobody
from agent.protocol import Json
from agent.system import CallDeadline, since_boot

MIRROR_SECONDS, SPARE_SECONDS = 8, 2
REQUESTS_AT_ONCE = 8


def mirror(deadline: CallDeadline, request: Json) -> Json:
    """Return which distributions no mirror has, as far as there is time to ask; nothing is fetched.

    :param request: ``mirrors`` (their URLs) and ``distributions`` (paths below ``authors/id``).
    """
    seconds = seconds_left(deadline, MIRROR_SECONDS)
    ends = since_boot() + seconds
    # Those that are asked when the time is over may still answer.
    said, why = as_nobody(seconds + SPARE_SECONDS, lambda: _asked(request, ends))
    return said if said is not None else {"error": why, "missing": [], "unasked": 0}


def _asked(request: Json, ends: float) -> Json:
    # A build has no proxy from the environment either.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str) -> bool | str | None:
        return is_on_a_mirror(opener, request["mirrors"], path) if since_boot() < ends else None

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        said = dict(zip(request["distributions"], pool.map(ask, request["distributions"])))
    return {
        "error": next((one for one in said.values() if isinstance(one, str)), None),
        "missing": [path for path, one in said.items() if one is False],
        "unasked": sum(one is None for one in said.values()),
    }


def is_on_a_mirror(opener: urllib.request.OpenerDirector, mirrors: list[str], path: str) -> bool | str:
    """Return whether a mirror has a distribution; if none has, why the first silent one did not answer."""
    trouble = ""
    for url in mirrors:
        address = f"{url}authors/id/{urllib.parse.quote(path)}"
        try:
            question = urllib.request.Request(address, method="HEAD")  # noqa: S310
            with opener.open(question, timeout=MIRROR_SECONDS / 2):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 429 or error.code >= 500:
                trouble = trouble or f"status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            trouble = trouble or str(getattr(error, "reason", error)) or type(error).__name__
    return trouble or False
