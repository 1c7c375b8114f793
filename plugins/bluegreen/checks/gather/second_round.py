"""Questions to a droplet that depend on the answers of all droplets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from bluegreen.checks.dependencies import CPAN_MIRRORS, cache_key, not_vendored
from bluegreen.checks.facts import Facts, Load, Mirror, Source
from bluegreen.checks.gather.ask_machine import ask, attempt
from bluegreen.checks.gather.expected import environment_path
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import DropletHook
from bluegreen.settings.app import App

# Megabytes that must be free to load a second copy of the app, so that the service keeps what it needs.
LIVE_FREE_MB = 256


@dataclass(frozen=True)
class _Question:
    """A request to a droplet; its kind is also the name of the fact that it fills in."""

    droplet: Droplet
    request: dict[str, Any]
    about: type[Load] | type[Mirror]


def follow_up(facts: Facts) -> Facts:
    """Return the facts with the answers of the second round filled in."""
    questions = [*_loading(facts), *_distributions(facts)]
    servers = dict(facts.servers)
    with ThreadPoolExecutor(max(1, len(questions))) as pool:
        answers = list(pool.map(lambda question: _answer_to(facts.app, question), questions))
    for question, answer in zip(questions, answers, strict=True):
        reading = servers[question.droplet.name]
        if not isinstance(reading.answer, BlueGreenError):
            known = reading.answer.model_copy(update={question.request["kind"]: answer})
            servers[question.droplet.name] = replace(reading, answer=known)
    return replace(facts, servers=servers)


def _loading(facts: Facts) -> Iterator[_Question]:
    """Load the revision beside the live service, where most memory is free, if no idle droplet has it."""
    source = facts.source
    if not isinstance(source, Source) or facts.idle is None:
        return
    servers = list(facts.read_servers())
    if any(server.load for _, server in servers):
        return
    able = [
        (server.memory_free_mb, droplet)
        for droplet, server in servers
        if source.revision in server.releases and server.memory_free_mb >= LIVE_FREE_MB
        if droplet not in facts.fleet.color(facts.idle)
    ]
    if able:
        name = facts.app.system_name
        _, droplet = max(able, key=lambda one: one[0])
        environment = environment_path(facts.app)
        about = {"app": name, "run_user": name, "environment": environment}
        request = {"kind": "load", "load": source.revision, **about}
        yield _Question(droplet, request, Load)


def _distributions(facts: Facts) -> Iterator[_Question]:
    """Look for the distributions that a deploy would fetch, from the droplets that would fetch them."""
    source = facts.source
    if not isinstance(source, Source) or source.cpanfile is None or not not_vendored(source):
        return
    for droplet, server in facts.read_servers():
        if facts.is_needed(droplet) and cache_key(server.perl_key, source) not in server.cache:
            wanted = {"mirrors": CPAN_MIRRORS, "distributions": not_vendored(source)}
            yield _Question(droplet, {"kind": "mirror", **wanted}, Mirror)


def _answer_to(app: App, question: _Question) -> Load | Mirror:
    hook = attempt(lambda: DropletHook.of(question.droplet, app))
    if isinstance(hook, BlueGreenError):
        return question.about.not_done(str(hook))
    answer = ask(hook, question.request, question.about).answer
    return question.about.not_done(str(answer)) if isinstance(answer, BlueGreenError) else answer
