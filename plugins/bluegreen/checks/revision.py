"""Checks of the revision that a deploy would build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.droplet.installers import INDEX
from bluegreen.checks.dependencies import (
    DISTRIBUTIONS,
    has_cpanfile,
    is_named_by_dist_ini_only,
    is_vendored,
    not_vendored,
)
from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.checks.release_facts import Mirror
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.settings.build import Installer
from bluegreen.source.policy import require_new_enough, require_reversible

SHOWN = 5


def ref(facts: Facts) -> Iterator[Finding]:
    """The ref leads to a revision, whose source can be fetched."""
    if isinstance(facts.source, PolicyError):
        yield error("policy", str(facts.source), "deploy another revision, or change the app's file")
    elif isinstance(facts.source, BlueGreenError):
        yield error("ref", str(facts.source), "correct the ref, or the repository")
    elif facts.source is not None and facts.source.problem:
        yield error(facts.source.ref, facts.source.problem, "its files were not checked")


def age(facts: Facts) -> Iterator[Finding]:
    """The revision is not older than the live one, or is allowed to be."""
    if isinstance(facts.age, BlueGreenError):
        yield error("policy", str(facts.age), "whether the revision is older than what is live is not known")
    elif isinstance(facts.source, Source) and facts.age is not None:
        try:
            require_new_enough(facts.app, facts.source.revision, facts.age, forced=facts.allow_older)
        except PolicyError as refused:
            yield error("policy", str(refused), "deploy a newer revision")


def irreversible(facts: Facts) -> Iterator[Finding]:
    """Traffic could go back after a deploy of the revision, or need not be able to."""
    source, age = facts.source, facts.age
    if not isinstance(source, Source) or age is None or isinstance(age, BlueGreenError):
        return
    try:
        require_reversible(facts.app, source.revision, age)
    except PolicyError as refused:
        yield error("policy", str(refused), "deploy what traffic can go back from, or change the app's file")
    else:
        if age.irreversible:
            yield warning(
                source.ref,
                f"it is irreversible: {age.irreversible}; traffic would stay on it even if it is bad",
                "make sure that it is good before it is deployed: only another release could replace it",
            )


def files(facts: Facts) -> Iterator[Finding]:
    """The revision has the files that a deploy needs."""
    source, app = facts.source, facts.app
    if not isinstance(source, Source) or source.files is None:
        return
    where = "" if app.server.root == "." else f" below {app.server.root} (server.root)"
    started = app.server.started_from
    if started not in source.app_files:
        setting = "server.script" if app.server.runs_script else "server.psgi"
        missing = f"there is no {started} in it{where}"
        if app.build.commands:
            yield warning(
                source.ref, missing, f"make sure that build.commands makes it, or correct {setting}"
            )
        else:
            yield error(source.ref, missing, f"commit it, or correct {setting}")
    if app.dependencies.installer is Installer.CARTON and has_cpanfile(source) and source.snapshot is None:
        yield error(
            "cpanfile.snapshot",
            f"it is missing in {source.ref}{where}",
            "run carton install and commit it, or set dependencies.installer: cpanm",
        )
    if app.dependencies.installer is Installer.CPANM and is_named_by_dist_ini_only(source):
        yield error(
            "dist.ini",
            f"in {source.ref}{where} it is for Dist::Zilla, which droplets do not have",
            "run dzil build, and commit the META.json, META.yml or cpanfile that it makes, or set "
            "dependencies.installer: none",
        )


def configuration(facts: Facts) -> Iterator[Finding]:
    """The app's environment and files can be made from the settings, the connection and the source."""
    if isinstance(facts.configuration, BlueGreenError):
        yield error("configuration", str(facts.configuration), "a deploy could not deliver it")


def store(facts: Facts) -> Iterator[Finding]:
    """The artifact store can be used."""
    if facts.store is not None:
        yield error("artifacts.store", str(facts.store), "a build could not be kept")


def artifact(facts: Facts) -> Iterator[Finding]:
    """The artifact of CI that is to be deployed can be."""
    if facts.artifact is not None:
        subject = "policy" if isinstance(facts.artifact, PolicyError) else "artifact"
        yield error(subject, str(facts.artifact), "a deploy would refuse it; see docs/ci.md")


def vendored(facts: Facts) -> Iterator[Finding]:
    """The revision contains all its distributions if it contains any, unless it is built already."""
    source, installer = facts.source, facts.app.dependencies.installer
    if not isinstance(source, Source) or not is_vendored(source) or facts.is_built:
        return
    if installer is Installer.CARTON and (missing := not_vendored(source)):
        yield error(
            "vendor/cache",
            f"{source.ref} does not have {_some(missing)}, and a build with vendor/cache fetches nothing",
            "run carton bundle and commit what it adds, or remove vendor/cache",
        )


def mirror(facts: Facts) -> Iterator[Finding]:
    """CPAN has the distributions that a build of the revision needs from there."""
    asked, builder = _mirror(facts), facts.builder
    if asked is None or builder is None:
        return
    if asked.error:
        yield error(
            builder.name,
            f"it cannot reach {asked.url or 'a CPAN mirror'}, where the distributions are: {asked.error}",
            "allow the connection, set dependencies.mirror, or commit vendor/cache (carton bundle)",
        )
    missing = [path.removeprefix(DISTRIBUTIONS) for path in asked.missing]
    if INDEX in missing:
        yield error(
            "dependencies.mirror", f"{asked.url} has no {INDEX}", "set it to the URL of a CPAN mirror"
        )
    elif missing:
        yield error(
            "cpanfile.snapshot",
            f"CPAN does not have {_some(missing)}",
            "take versions that it has, or commit vendor/cache (carton bundle)",
        )


def _mirror(facts: Facts) -> Mirror | None:
    """Return what the CPAN mirror has, as the builder has asked it."""
    return next((server.mirror for _, server in facts.read_servers() if server.mirror), None)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def loading(facts: Facts) -> Iterator[Finding]:
    """The revision loads wherever it is installed already."""
    for droplet, server in facts.read_servers():
        load = server.load
        if load is None or load.status == 0:
            continue
        if load.status is None:
            yield warning(
                droplet.name,
                f"the app was not loaded: {load.cause}",
                "fix that; until then only a deploy shows whether the revision loads",
            )
        elif load.is_judged and facts.is_loaded_otherwise(server):
            yield warning(
                droplet.name,
                "the app does not load with the environment and files that it runs with there: "
                f"{load.cause or f'status {load.status}'}",
                "a deploy delivers others; only that shows whether the revision loads with them",
            )
        elif load.is_judged:
            judge = error if facts.is_needed(droplet) else warning
            yield judge(
                droplet.name,
                f"the app does not load: {load.cause or f'status {load.status}'}",
                "look at the app's environment, and at what the app needs there",
            )
