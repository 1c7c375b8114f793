"""Reading the fields of a request: every value is checked before anything is done with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.protocol import COLORS, AgentError, Code

LINE, PATH, COLOR, REVISION = r"[^\x00-\x1f]{0,500}", r"/[!-~]{0,199}", "|".join(COLORS), r"[0-9a-f]{40}"
PROGRAM = r"/[A-Za-z0-9._+/-]{1,200}"
HOST = r"[A-Za-z0-9.:\[\]-]{1,260}"


def text(request: Mapping[str, Any], key: str, pattern: str) -> str:
    """Return a field that has to match a pattern as a whole.

    :raises AgentError: with the code ``bad_request``.
    """
    value = request.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise AgentError(Code.BAD_REQUEST, f"{key}: {value!r:.60} is not usable")
    return value


def number(request: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """Return a field that has to be a number within bounds.

    :raises AgentError: with the code ``bad_request``.
    """
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AgentError(Code.BAD_REQUEST, f"{key}: {value!r:.60} is not a number from {low} to {high}")
    return value


def words(request: Mapping[str, Any], key: str) -> list[str]:
    """Return a field that has to be a list of words, none of which has a NUL byte.

    :raises AgentError: with the code ``bad_request``.
    """
    value = request.get(key)
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise AgentError(Code.BAD_REQUEST, f"{key}: {value!r:.60} is no list of words")
    return value
