"""What a dry run could not check: not a finding, because nothing is known to be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.checks import migrations, services
from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.release_facts import Load


def not_checked(facts: Facts) -> list[str]:
    """Return one line for each thing that was not checked, with the reason."""
    return [
        *_loading(facts),
        *migrations.unknown(facts),
        *services.unknown(facts),
        *_distributions(facts),
        *_releases(facts),
        *_certificates(facts),
    ]


def _loading(facts: Facts) -> Iterator[str]:
    source = facts.source
    servers = [server for _, server in facts.read_servers()]
    loads = [server.load for server in servers if server.load]
    if isinstance(source, Source) and not any(load.is_judged for load in loads):
        why = _why_not_judged(loads[0]) if loads else _why_not_loaded(facts, source)
        yield f"whether {source.ref} ({source.revision[:12]}) loads: {why}"
    elif isinstance(source, Source) and any(map(facts.is_loaded_otherwise, servers)):
        why = "a dry run delivers nothing"
        yield f"whether {source.ref} loads with the environment and files that Airflow has now: {why}"


def _distributions(facts: Facts) -> Iterator[str]:
    for droplet, server in facts.read_servers():
        count = server.mirror.unasked if server.mirror else 0
        if count:
            yield f"whether CPAN has {count} of the distributions for {droplet.name}: there was no time left"


def _releases(facts: Facts) -> Iterator[str]:
    for droplet, server in facts.read_servers():
        compared = server.compared
        if compared is not None and compared.problem:
            yield f"whether the release on {droplet.name} is as it was built: {compared.problem}"


def _certificates(facts: Facts) -> Iterator[str]:
    for droplet, proxy in facts.read_proxies():
        if proxy.more_certificates:
            yield f"{proxy.more_certificates} more certificates on {droplet.name}: too many in a directory"


def _why_not_judged(load: Load) -> str:
    if load.read_only:
        return "it wants to write while it loads, and a dry run lets it write nothing"
    return load.cause


def _why_not_loaded(facts: Facts, source: Source) -> str:
    if facts.idle is None:
        return "which color is live is not known"
    if any(server.release_for(source.revision) for _, server in facts.read_servers()):
        return "the droplets that have it cannot load it beside what they do"
    return "no droplet has it yet"
