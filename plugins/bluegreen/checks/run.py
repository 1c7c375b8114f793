"""All checks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from bluegreen.checks import (
    account,
    color_release,
    drift,
    health,
    ledgers,
    links,
    machines,
    migrations,
    ports,
    processes,
    proxies,
    revision,
    services,
)
from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, error, worst_first

Check = Callable[[Facts], Iterable[Finding]]

# In this order among equally bad ones: causes before their consequences.
CHECKS: tuple[Check, ...] = (
    account.account,
    account.roles,
    machines.reachable,
    proxies.answering,
    proxies.running,
    proxies.agreement,
    account.joining,
    color_release.releases,
    proxies.gradual,
    revision.ref,
    revision.age,
    revision.irreversible,
    revision.files,
    links.links,
    revision.configuration,
    revision.store,
    revision.artifact,
    revision.vendored,
    machines.login,
    machines.room,
    machines.tools,
    machines.perls,
    machines.packages,
    machines.package_versions,
    machines.environment,
    processes.section,
    processes.units,
    processes.programs,
    revision.mirror,
    revision.loading,
    migrations.status,
    services.reachable,
    account.network,
    account.entry_point,
    account.firewalls,
    ports.ports,
    proxies.unprivileged,
    proxies.configuration,
    proxies.certificate,
    health.serving,
    health.way_back,
    health.health_path,
    health.pages,
    processes.placement,
    processes.health,
    account.completeness,
    proxies.unfinished,
    ledgers.chains,
    ledgers.rewritten,
    ledgers.different,
    drift.traffic_map,
    drift.haproxy_file,
    drift.agent,
    drift.units,
    drift.configurations,
    drift.releases,
    machines.clock,
    machines.jobs,
)

# Those because of which no deploy begins: the task `provision_check` runs them before anything is touched.
# A deploy finds what the others look at where it gets there: the ref in `resolve_ref`, the source and the
# artifact store in `build`, the configuration in `deploy`, HAProxy's in `render_and_reload`. What clients
# suffer from already stops no deploy, which may be the remedy.
BLOCKING: tuple[Check, ...] = (
    account.roles,
    machines.reachable,
    proxies.answering,
    proxies.agreement,
    proxies.gradual,
    machines.login,
    machines.room,
    machines.tools,
    machines.perls,
    machines.packages,
    machines.environment,
    processes.section,
    processes.units,
    account.network,
)

_log = logging.getLogger(__name__)


def findings_in(facts: Facts, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Return the findings of all checks, the worst first.

    A check that breaks becomes a finding itself, and hides no other check's findings.
    """
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(facts)
        except Exception as problem:
            _log.exception("the check %s broke", check.__name__)
            found.append(
                error(
                    f"check {check.__name__}",
                    f"it failed ({type(problem).__name__}), so its subject was not checked",
                    "report this, with the log of this task",
                )
            )
    return worst_first(found)
