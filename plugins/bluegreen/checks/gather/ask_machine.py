"""Asking a droplet for facts; what is sent there only reads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bluegreen.checks.facts import Reading
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletHook
from bluegreen.release.cage import CAGE
from bluegreen.templates import template_text

# What is left of the time that a command may be silent for is the script's own, to say what it has found.
SPARE_SECONDS = 4

# What is run on a droplet, each after those that it imports.
_MODULES = (
    "checks/bounded",
    "checks/users",
    "checks/nobody",
    "checks/comparison",
    "checks/network",
    "checks/certificates",
    "droplet/mask",
    "droplet/local_cage",
    "checks/application",
    "checks/facts",
)

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
    """Return the command that reads :func:`facts_call` from its standard input, and prints facts as JSON."""
    return ["python3", "-I", "-B", "-c", template_text("checks/boot.py")]


def facts_call(request: dict[str, Any]) -> str:
    """Return a request, with everything that is needed to answer it."""
    modules = {PurePosixPath(name).name: template_text(f"{name}.py") for name in _MODULES}
    return json.dumps({"modules": modules, "request": {**request, "cage": CAGE}})


def ask(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Reading[Answer]:
    """Ask a droplet, close the connection, and say when that was."""
    asked = time.time()
    with hook:
        answer = attempt(lambda: _answer(hook, request, kind))
    return Reading(answer, asked, time.time())


def _answer(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Answer:
    limited = {**request, "seconds": hook.command_timeout - SPARE_SECONDS}
    result = hook.run(facts_command(), facts_call(limited))
    if result.status != 0:
        said = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FactsError(f"{hook.droplet.label}: its facts cannot be read: {said[:200]}")
    try:
        return kind.model_validate_json(result.stdout)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise FactsError(f"{hook.droplet.label}: its facts are not whole: {place}") from None
