"""Whether each droplet reaches the backing services that the app leans on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from agent.services import shown
from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.release.services import checks_of


def reachable(facts: Facts) -> Iterator[Finding]:
    """Every droplet reaches every backing service; a deploy fails if one that it needs does not."""
    for droplet, server in facts.read_servers():
        causes = server.services.causes if server.services else {}
        for check in checks_of(facts.app):
            if cause := causes.get(check["name"]):
                judge = error if facts.is_needed(droplet) else warning
                yield judge(
                    droplet.name,
                    f"it cannot reach the service {shown(check)}: {cause}",
                    "look at the service, at its firewall, and at the app's environment",
                )


def unknown(facts: Facts) -> Iterator[str]:
    """Return which services were not tried from the droplets that the next deploy needs, and why."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for droplet, server in facts.read_servers():
        reached = server.services
        causes = reached.causes if reached else {}
        untried = [name for name in facts.app.services if name not in causes]
        if untried and isinstance(facts.source, Source) and facts.is_needed(droplet):
            why = (reached and reached.problem) or "it has not what a deploy would run there, or had no time"
            found[", ".join(untried), why].append(droplet.name)
    for (services, why), droplets in found.items():
        yield f"whether the services {services} can be reached from {', '.join(droplets)}: {why}"
