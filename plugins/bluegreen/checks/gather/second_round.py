"""Questions to a droplet that depend on the answers of all droplets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from agent.protocol import LoadRequest
from agent.release_name import is_release, revision_of
from agent.services import KINDS, NEED_ENVIRONMENT
from bluegreen.checks.dependencies import fetched
from bluegreen.checks.facts import AppServer, Facts, Source
from bluegreen.checks.gather.ask_machine import ask, attempt
from bluegreen.checks.release_facts import Load, Mirror, PendingMigrations, ReachedServices
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.cpan import cpan_credentials
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE, DropletHook
from bluegreen.release.release import deploy_unit, load_request
from bluegreen.release.services import services_question
from bluegreen.settings.app import App

# Megabytes that must be free to load a second copy of the app, so that the service keeps what it needs.
LIVE_FREE_MB = 256


_Answer = Load | Mirror | PendingMigrations | ReachedServices


@dataclass(frozen=True)
class _Question:
    """A request to a droplet; its kind is also the name of the fact that it fills in."""

    droplet: Droplet
    request: dict[str, Any]
    about: type[_Answer]


def follow_up(facts: Facts) -> Facts:
    """Return the facts with the answers of the second round filled in."""
    questions = [*_loading(facts), *_distributions(facts), *_services(facts)]
    servers = dict(facts.servers)
    with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
        answers = list(pool.map(lambda question: _answer_to(facts.app, question), questions))
    for question, answer in zip(questions, answers, strict=True):
        reading = servers[question.droplet.name]
        if not isinstance(reading.answer, BlueGreenError):
            known = reading.answer.model_copy(update={question.request["kind"]: answer})
            servers[question.droplet.name] = replace(reading, answer=known)
    return replace(facts, servers=servers)


def _loading(facts: Facts) -> Iterator[_Question]:
    """Load the revision on the idle droplets that have it, and ask one of them which migrations are pending.

    If none has, it is loaded beside the live service, where most memory is free.
    """
    source = facts.source
    if not isinstance(source, Source) or facts.idle is None:
        return
    able = [
        (droplet, server, release)
        for droplet, server in facts.read_servers()
        if (release := server.release_for(source.revision))
        and server.configuration_for(release, facts.configuration)
    ]
    idle = [one for one in able if one[0] in facts.fleet.color(facts.idle)]
    roomy = [one for one in able if one not in idle and one[1].memory_free_mb >= LIVE_FREE_MB]
    beside = [max(roomy, key=lambda one: one[1].memory_free_mb)] if roomy else []
    asked = False
    for droplet, server, release in idle or beside:
        configuration = server.configuration_for(release, facts.configuration) or ""
        request = _load_request(facts.app, droplet, release, configuration)
        yield _Question(droplet, {"kind": "load", **request}, Load)
        # One database, one answer; only the revision's own code knows its migrations.
        if facts.app.migrations.status and not asked:
            asked = True
            status = {**request, "command": ["/usr/bin/env", *facts.app.migrations.status]}
            yield _Question(droplet, {"kind": "migrations", **status}, PendingMigrations)


def _load_request(app: App, droplet: Droplet, release: str, configuration: str) -> LoadRequest:
    unit, address = deploy_unit(app.id, revision_of(release)), str(droplet.private)
    return load_request(app, unit, release, configuration, address)


def _distributions(facts: Facts) -> Iterator[_Question]:
    """Look for the distributions that a build would fetch, from the droplet that would fetch them."""
    source, builder = facts.source, facts.builder
    if not isinstance(source, Source) or facts.is_built or builder is None:
        return
    paths = fetched(facts.app, source)
    if paths and any(droplet == builder for droplet, _ in facts.read_servers()):
        about = {"app": facts.app.system_name, "mirror": facts.app.dependencies.mirror, "paths": paths}
        request = {"kind": "mirror", **about}
        yield _Question(builder, request, Mirror)


def _services(facts: Facts) -> Iterator[_Question]:
    """Reach the backing services from every droplet, by the checks that it has all for."""
    for droplet, server in facts.read_servers():
        load = _runs_with(facts, droplet, server)
        kinds = KINDS if load else [one for one in KINDS if one not in NEED_ENVIRONMENT]
        request = services_question(facts.app, load, kinds)
        if request["services"]:
            yield _Question(droplet, {"kind": "services", **request}, ReachedServices)


def _runs_with(facts: Facts, droplet: Droplet, server: AppServer) -> LoadRequest | None:
    """Return how the release is loaded whose services count; ``None`` if a droplet has not all that it takes.

    That is the release that runs on the live color, and on the other one what a deploy would run.
    """
    release = server.current
    if isinstance(facts.source, Source) and facts.is_needed(droplet):
        release = server.release_for(facts.source.revision)
    if release is None or not is_release(release):
        return None
    configuration = server.configuration_for(release, facts.configuration)
    # Another one may have another address of the database.
    is_old = isinstance(facts.configuration, str) and configuration != facts.configuration
    return _load_request(facts.app, droplet, release, configuration) if configuration and not is_old else None


def _answer_to(app: App, question: _Question) -> _Answer:
    hook = attempt(lambda: DropletHook.of(question.droplet, app))
    if isinstance(hook, BlueGreenError):
        return question.about.not_done(str(hook))
    request = question.request
    if question.about is Mirror:
        credentials = attempt(lambda: cpan_credentials(app))
        if isinstance(credentials, BlueGreenError):
            return Mirror.not_done(str(credentials))
        request = {**request, "credentials": credentials}
    answer = ask(hook, request, question.about).answer
    return question.about.not_done(str(answer)) if isinstance(answer, BlueGreenError) else answer
