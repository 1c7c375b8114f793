"""The backing services of an app: how a droplet is asked to reach them; the plugin imports this, too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict
from urllib.parse import urlsplit

from agent.protocol import AgentError, Code, StepRequest

# A service's name in the app's file.
NAME = r"[a-z][a-z0-9_-]{0,30}"
MOST_SERVICES = 20
# Seconds that a check may have.
LONGEST_CHECK = 10
# Of the kinds of checks, those that a program of the agent makes, and the one that a command of the app does.
ADDRESS, URL, ADDRESS_FROM, URL_FROM, COMMAND = "address", "url", "address_from", "url_from", "command"
KINDS = (ADDRESS, URL, ADDRESS_FROM, URL_FROM, COMMAND)
# Those that take the app's environment.
NEED_ENVIRONMENT = (ADDRESS_FROM, URL_FROM, COMMAND)
# What the program of the agent writes of a service that it has reached.
REACHED = "reached"
# Characters of a cause, and of a command, that are shown.
LONGEST_CAUSE, LONGEST_COMMAND = 300, 60


class ServiceCheck(TypedDict):
    """How one service is reached within ``timeout`` seconds.

    ``kind`` is a key of the setting, ``value`` what that key has: host and port, a URL, the words of a
    command, or the name of the variable that has address or URL.
    """

    name: str
    kind: str
    value: str | list[str]
    timeout: float


class ServicesRequest(StepRequest):
    """The request of the step ``services``.

    ``properties`` are those of the service's unit that count for loading: the cage, environment, directory.
    """

    release: str
    properties: list[str]
    services: list[ServiceCheck]


def checks_in(request: Mapping[str, Any]) -> list[ServiceCheck]:
    """Return the checks of a request.

    :raises AgentError: with the code ``bad_request``.
    """
    found = request.get("services")
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_SERVICES:
        raise AgentError(Code.BAD_REQUEST, f"services: it is no list of 1 to {MOST_SERVICES} checks")
    for one in found:
        if not isinstance(one, dict) or not _is_check(one):
            raise AgentError(Code.BAD_REQUEST, "services: there is something else than checks")
    return found


def _is_check(one: Mapping[str, Any]) -> bool:
    name, kind, value, timeout = (one.get(key) for key in ("name", "kind", "value", "timeout"))
    words = value if isinstance(value, list) else [value]
    return (
        isinstance(name, str)
        and re.fullmatch(NAME, name) is not None
        and kind in KINDS
        and isinstance(value, list) == (kind == COMMAND)
        and bool(words)
        and all(isinstance(word, str) and word and "\0" not in word for word in words)
        and isinstance(timeout, (int, float))
        and not isinstance(timeout, bool)
        and 0 < timeout <= LONGEST_CHECK
    )


def shown(check: ServiceCheck) -> str:
    """Return a service for people: its name and place, without a variable's value, or a query."""
    kind, value = check["kind"], check["value"]
    if isinstance(value, list):
        whole = shlex.join(value)
        place = whole if len(whole) <= LONGEST_COMMAND else f"{whole[:LONGEST_COMMAND]}…"
    elif kind == URL:
        parts = urlsplit(value)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    else:
        place = value
    return f"{check['name']} ({place})"


def causes_in(output: str, checks: list[ServiceCheck]) -> Iterator[tuple[str, str]]:
    """Return what the agent's program wrote of each service: why it was not reached, or an empty text.

    A service is left out that the program wrote nothing about.
    """
    names = {one["name"] for one in checks}
    for line in output.splitlines():
        name, colon, cause = line.partition(": ")
        if colon and name in names:
            printable = "".join(filter(str.isprintable, cause))[:LONGEST_CAUSE]
            yield name, "" if printable == REACHED else printable
