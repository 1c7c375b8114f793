"""Asking a droplet for facts; what is sent there only reads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent.protocol import Verb
from bluegreen.agent_bundle import agent_bundle, memory_runner
from bluegreen.checks.facts import Reading
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletHook
from bluegreen.release.cage import CAGE

# What is left of the time that a command may be silent for is the script's own, to say what it has found.
SPARE_SECONDS = 4

T = TypeVar("T")
Answer = TypeVar("Answer", bound=BaseModel)


class FactsError(BlueGreenError):
    """A machine could be reached, but did not say what it was asked."""


def attempt(question: Callable[[], T]) -> T | BlueGreenError:
    """Return an answer, or the error that there is instead: it hides nothing else."""
    try:
        return question()
    except BlueGreenError as error:
        return error


def facts_command() -> list[str]:
    """Return the command that reads :func:`facts_input` from standard input, and prints an answer as JSON."""
    bundle = agent_bundle()
    runner = ["python3", "-I", "-B", "-c", memory_runner()]
    return [*runner, bundle.name, str(len(bundle.data)), Verb.FACTS.value, "-"]


def facts_input(request: dict[str, Any]) -> bytes:
    """Return a request, after the agent that answers it."""
    return agent_bundle().data + json.dumps({**request, "cage": CAGE}).encode()


def ask(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Reading[Answer]:
    """Ask a droplet, close the connection, and say when that was."""
    asked = time.time()
    with hook:
        answer = attempt(lambda: _answer(hook, request, kind))
    return Reading(answer, asked, time.time())


def _answer(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Answer:
    limited = {**request, "seconds": hook.command_timeout - SPARE_SECONDS}
    result = hook.run(facts_command(), facts_input(limited))
    try:
        said = json.loads(result.stdout)
        ok = said["ok"]
    except (ValueError, TypeError, KeyError):
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FactsError(f"{hook.droplet.label}: its facts cannot be read: {reason[:200]}") from None
    if not ok:
        raise FactsError(f"{hook.droplet.label}: its facts cannot be read: {said.get('message', '')[:200]}")
    try:
        return kind.model_validate(said.get("facts"))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise FactsError(f"{hook.droplet.label}: its facts are not whole: {place}") from None
