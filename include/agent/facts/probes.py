"""Asking servers for their health, not by way of HAProxy, whose counters stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from agent.facts.bounded import seconds_left
from agent.http_client import Question, http_get
from agent.protocol import Json, Probe
from agent.system import CallDeadline

A = TypeVar("A")
B = TypeVar("B")

PROBE_SECONDS = 5
AT_ONCE = 64


def probes(deadline: CallDeadline, request: Json) -> dict[str, Probe]:
    """Return each server's answer by its name.

    :param request: ``servers`` (each a ``name``, ``address`` and ``port``), ``path``, ``host`` and ``https``.
    """
    servers = request["servers"]
    answers = _at_once(lambda server: _ask(deadline, server, request["path"], request), servers)
    return {server["name"]: answer for server, answer in zip(servers, answers)}


def pages(deadline: CallDeadline, request: Json) -> dict[str, int | None]:
    """Return the status of one server's answer to each path; nothing if no server is named.

    :param request: ``page_server`` (a server, or None), ``pages`` (the paths), ``host`` and ``https``.
    """
    server, paths = request["page_server"], request["pages"]
    if not server:
        return {}
    answers = _at_once(lambda path: _ask(deadline, server, path, request), paths)
    return {path: answer["status"] for path, answer in zip(paths, answers)}


def _ask(deadline: CallDeadline, server: Json, path: str, request: Json) -> Probe:
    question = Question(path, request["host"], request["https"])
    return http_get(server["address"], server["port"], question, seconds_left(deadline, PROBE_SECONDS))


def _at_once(do: Callable[[A], B], things: Sequence[A]) -> list[B]:
    with ThreadPoolExecutor(max(1, min(len(things), AT_ONCE))) as pool:
        return list(pool.map(do, things))
