"""Which migrations of the revision are pending, as its own code says where a droplet has it."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, warning
from bluegreen.checks.release_facts import PendingMigrations


def status(facts: Facts) -> Iterator[Finding]:
    """The app's command that says what is pending works."""
    for droplet, server in facts.read_servers():
        if server.migrations and server.migrations.status not in (0, None):
            how = server.migrations.pending or "it wrote nothing"
            yield warning(
                droplet.name,
                f"migrations.status ended with {server.migrations.status}: {how}",
                "run it there, and look at the database; a deploy goes on without it",
            )


def pending(facts: Facts) -> str:
    """Return what is pending, in words; empty if that is not known, or not asked."""
    found = _asked(facts)
    if not isinstance(facts.source, Source) or found is None or found.status != 0:
        return ""
    return f"migrations of {facts.source.ref}: {found.pending or 'nothing is reported'}"


def unknown(facts: Facts) -> Iterator[str]:
    """Return why it is not known what is pending, if the app has a command for that."""
    found, source = _asked(facts), facts.source
    if not facts.app.migrations.status or not isinstance(source, Source) or (found and found.status == 0):
        return
    what = f"which migrations of {source.ref} ({source.revision[:12]}) are pending"
    if found is None:
        yield f"{what}: only its own code knows, and no droplet can run that yet"
    elif found.status is None:
        yield f"{what}: {found.pending or 'the command was not run'}"
    else:
        yield f"{what}: migrations.status failed"


def _asked(facts: Facts) -> PendingMigrations | None:
    return next((server.migrations for _, server in facts.read_servers() if server.migrations), None)
