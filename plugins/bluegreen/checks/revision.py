"""Checks of the revision that a deploy would build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bluegreen.checks.dependencies import (
    CPAN_MIRRORS,
    cache_key,
    is_vendored,
    not_vendored,
)
from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.git_refs import meaning_of, revision_in
from bluegreen.release.system_names import FETCH_USER
from bluegreen.source.policy import require_new_enough

SHOWN = 5


def ref(facts: Facts) -> Iterator[Finding]:
    """The ref leads to a revision, which can be fetched."""
    if isinstance(facts.source, PolicyError):
        yield error("policy", str(facts.source), "deploy another revision, or change the app's file")
    elif isinstance(facts.source, BlueGreenError):
        yield error("ref", str(facts.source), "correct the ref, or the repository")
    elif facts.source is not None and facts.source.problem:
        yield warning(facts.source.ref, facts.source.problem, "its files were not checked")


def age(facts: Facts) -> Iterator[Finding]:
    """The revision is not older than the live one, or is allowed to be."""
    if isinstance(facts.age, BlueGreenError):
        yield error("policy", str(facts.age), "whether the revision is older than what is live is not known")
    elif isinstance(facts.source, Source) and facts.age is not None:
        try:
            require_new_enough(facts.app, facts.source.revision, facts.age, forced=facts.allow_older)
        except PolicyError as refused:
            yield error("policy", str(refused), "deploy a newer revision")


def has_cpanfile(source: Source) -> bool:
    """Whether a cpanfile is committed; then a deploy installs dependencies."""
    return "cpanfile" in (source.files or frozenset()) | source.left_out


def is_kept_out(source: Source, path: str) -> bool:
    """Whether a file, or everything in a directory, is committed but kept out of a release."""

    def is_there(paths: frozenset[str]) -> bool:
        return path in paths or any(one.startswith(f"{path}/") for one in paths)

    return is_there(source.left_out) and not is_there(source.files or frozenset())


def files(facts: Facts) -> Iterator[Finding]:
    """The revision has the files that a deploy needs."""
    source = facts.source
    if not isinstance(source, Source) or source.files is None:
        return
    psgi = facts.app.server.psgi
    # The build begins with these checks; a deploy reports them in the same words.
    needed = (psgi, *(("cpanfile", "cpanfile.snapshot", "vendor/cache") if has_cpanfile(source) else ()))
    for path in needed:
        if is_kept_out(source, path):
            yield error(
                path, f".gitattributes keeps {path} from the release", "remove its export-ignore there"
            )
    if psgi not in source.files | source.left_out:
        yield error(source.ref, f"there is no {psgi} in it", "commit it, or correct server.psgi")
    if has_cpanfile(source) and "cpanfile.snapshot" not in source.files | source.left_out:
        yield error(
            "cpanfile.snapshot", f"it is missing in {source.ref}", "run carton install, and commit it"
        )


def vendored(facts: Facts) -> Iterator[Finding]:
    """The revision contains its distributions, unless they are installed already."""
    source = facts.source
    if not isinstance(source, Source) or not is_vendored(source):
        return
    building = [
        server
        for droplet, server in facts.read_servers()
        if facts.is_needed(droplet) and cache_key(server.perl_key, source) not in server.cache
    ]
    if building and (missing := not_vendored(source)):
        elsewhere = all(server.mirror is not None and server.mirror.has_all for server in building)
        consequence = ", and a deploy would fetch that from CPAN" if elsewhere else ""
        yield (warning if elsewhere else error)(
            "vendor/cache",
            f"{source.ref} does not have {_some(missing)}{consequence}",
            "run carton bundle, and commit what it adds",
        )


def repository(facts: Facts) -> Iterator[Finding]:
    """Every droplet reads the same from the repository as Airflow does."""
    source = facts.source
    for droplet, server in facts.read_servers():
        if server.remote is None:
            continue
        judge = error if facts.is_needed(droplet) else warning
        if server.remote.error is not None:
            yield judge(
                droplet.name,
                f"it cannot read {facts.app.repository}: {server.remote.error}",
                f"look at its network, and at the key of the user {FETCH_USER}",
            )
        elif isinstance(source, Source):
            there = revision_in(server.remote.refs, source.ref)
            # Of commits a remote lists none.
            if there != source.revision and (there or not meaning_of(source.ref).commit):
                yield judge(
                    droplet.name,
                    f"there {source.ref} is {(there or 'nothing')[:12]}, here {source.revision[:12]}",
                    "try again; if it persists, a proxy in between is out of date",
                )


def mirror(facts: Facts) -> Iterator[Finding]:
    """CPAN has the distributions that the revision needs from there."""
    source = facts.source
    if not isinstance(source, Source) or is_vendored(source):
        return
    for droplet, server in facts.read_servers():
        if server.mirror is not None and server.mirror.error:
            yield error(
                droplet.name,
                f"it cannot reach {CPAN_MIRRORS[0]}, where the distributions are: {server.mirror.error}",
                "allow the connection, or commit vendor/cache (carton bundle)",
            )
        if server.mirror is not None and server.mirror.missing:
            yield error(
                "cpanfile.snapshot",
                f"CPAN does not have {_some(server.mirror.missing)}",
                "take versions that it has, or commit vendor/cache (carton bundle)",
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def loading(facts: Facts) -> Iterator[Finding]:
    """The revision loads wherever it is built already."""
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
        elif load.is_judged:
            judge = error if facts.is_needed(droplet) else warning
            yield judge(
                droplet.name,
                f"the app does not load: {load.cause or f'status {load.status}'}",
                f"look at /etc/default/{facts.app.system_name} and what the app needs there",
            )
