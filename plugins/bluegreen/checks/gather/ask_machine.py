"""Asking a droplet for facts; what is sent there only reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent.facts.ports import Port
from agent.protocol import Verb
from bluegreen.checks.dependencies import COMPILERS, PROGRAMS
from bluegreen.checks.facts import AppServer, Processes, Reading
from bluegreen.checks.gather.expected import watched_files
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.agent import AgentHook
from bluegreen.hooks.droplet import DropletHook
from bluegreen.run.processes import ProcessFact
from bluegreen.settings.app import App

# What is left of the time that a command may be silent for is the script's own, to say what it has found.
SPARE_SECONDS = 4
# A droplet has these seconds even if ``timeouts.ssh_command`` is shorter: without its facts no deploy begins.
LEAST_SECONDS = 15

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


def ask(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Reading[Answer]:
    """Ask a droplet, close the connection, and say when that was."""
    asked = time.time()
    with hook:
        answer = attempt(lambda: _answer(hook, request, kind))
    return Reading(answer, asked, time.time())


def ask_app_server(
    app: App, droplet: Droplet, *, compare: bool = False, ports: Sequence[Port] = ()
) -> Reading[AppServer]:
    """Ask an application droplet what a deploy finds there.

    :param compare: whether its release is compared with its manifest.
    :param ports: ports of other machines that it tries.
    """
    request = {
        "kind": "app_server",
        "app": app.system_name,
        "unit": f"{app.system_name}.service",
        "files": list(watched_files(app, proxy=False)),
        "users": [app.system_name],
        "perl": app.server.perl,
        "tools": [*PROGRAMS[app.dependencies.installer], *COMPILERS],
        "packages": list(app.fleet.packages),
        "compare": compare,
        "ports": [vars(one) for one in ports],
    }
    hook = attempt(lambda: DropletHook.of(droplet, app))
    if isinstance(hook, BlueGreenError):
        return Reading(hook, time.time(), time.time())
    return ask(hook, request, AppServer)


def ask_processes(app: App, droplet: Droplet) -> tuple[ProcessFact, ...] | BlueGreenError:
    """Ask an application droplet for nothing but the app's processes and timers, which is quick."""
    hook = attempt(lambda: DropletHook.of(droplet, app))
    if isinstance(hook, BlueGreenError):
        return hook
    answer = ask(hook, {"kind": "processes", "app": app.system_name}, Processes).answer
    return answer if isinstance(answer, BlueGreenError) else answer.processes


def _answer(hook: DropletHook, request: dict[str, Any], kind: type[Answer]) -> Answer:
    seconds = max(hook.command_timeout - SPARE_SECONDS, LEAST_SECONDS)
    try:
        said = AgentHook(hook).read(Verb.FACTS, seconds, **request, seconds=seconds)
        return kind.model_validate(said["facts"])
    except AgentRefusedError as error:
        reason = str(error).removeprefix(f"{hook.droplet.name}: ")
        raise FactsError(f"{hook.droplet.label}: its facts cannot be read: {reason[:200]}") from None
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise FactsError(f"{hook.droplet.label}: its facts are not whole: {place}") from None
