"""Asking a machine's agent for facts without SSH, for several modules of tests."""

from __future__ import annotations

from typing import Any

from agent.protocol import Verb
from bluegreen.agent_bundle import memory_command, memory_input


def facts_command() -> list[str]:
    """Return the command that reads :func:`facts_input` from standard input, and prints an answer as JSON."""
    return memory_command(Verb.FACTS)


def facts_input(request: dict[str, Any]) -> bytes:
    """Return a request for facts, after the agent that answers it."""
    return memory_input(request)
