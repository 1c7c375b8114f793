"""Checks of the app itself: that it answers, and that traffic could go back."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet
from bluegreen.traffic.good_answer import allowed, is_good
from bluegreen.traffic.health_path import HEALTH_PATH_ADVICE, lost_by_health_path


def serving(facts: Facts) -> Iterator[Finding]:
    """The live color is healthy, and so is the idle one, to which a rollback would go."""
    if facts.live is None or not facts.is_live_known:
        return
    yield from _color(facts, facts.live, "clients may be affected now")
    idle = facts.live.other
    revisions = [
        server.revision for droplet, server in facts.read_servers() if droplet in facts.fleet.color(idle)
    ]
    if revisions and not any(revisions):
        yield warning(
            str(idle), "it has no release yet, so a rollback is not possible", "the next deploy gives it one"
        )
        return
    yield from _color(facts, idle, "a rollback would not be possible")
    if len({revision for revision in revisions if revision}) > 1:
        yield warning(
            str(idle),
            f"its droplets have different releases ({', '.join(sorted(str(one)[:12] for one in revisions))})",
            "a rollback would not be possible; the next deploy makes them equal",
        )


def way_back(facts: Facts) -> Iterator[Finding]:
    """No contract, and no irreversible release, has ended the way back."""
    if facts.no_way_back and facts.live:
        yield warning(
            str(facts.live.other),
            f"a rollback to it is refused: {facts.no_way_back}",
            "the next deploy gives it a release that works with the database as it is",
        )


def health_path(facts: Facts) -> Iterator[Finding]:
    """The live color answers the health path that HAProxy requests after the next deploy's reload."""
    if facts.live is None:
        return
    live = {droplet.name for droplet in facts.fleet.color(facts.live)}
    for proxy, there in facts.read_proxies():
        status = facts.readable.get(proxy.name)
        for server in status.servers.get(facts.live, ()) if status else ():
            probe = there.probes.get(server.name)
            if not server.up or server.name not in live or probe is None:
                continue
            if lost := lost_by_health_path(facts.app, probe.status):
                yield error(server.name, lost, HEALTH_PATH_ADVICE)


def pages(facts: Facts) -> Iterator[Finding]:
    """The live release answers the pages that the next deploy is judged by."""
    for proxy, there in facts.read_proxies():
        bad = {
            path: status
            for path, status in there.pages.items()
            if not is_good(status, facts.app.good_statuses(path))
        }
        if not bad or facts.live is None:
            continue
        each = ", ".join(f"{path} with {f'status {one}' if one else 'nothing'}" for path, one in bad.items())
        proof = "nothing" if len(bad) == len(there.pages) else "nothing by that"
        yield warning(
            str(facts.live),
            f"its release answers {proxy.name} {each} (asked {facts.app.traffic.asked}); a deploy whose "
            f"release answers in the same way proves {proof}",
            "set traffic.public_url to how clients ask, good answers in validation.statuses, or other paths "
            "in validation.paths",
        )


def _color(facts: Facts, color: Color, consequence: str) -> Iterator[Finding]:
    servers = {droplet.name: server for droplet, server in facts.read_servers()}
    for droplet in facts.fleet.color(color):
        server = servers.get(droplet.name)
        if server is not None and facts.is_stopped_on_purpose(droplet, server):
            continue
        if server is not None and server.current is not None and server.unit.ActiveState != "active":
            yield warning(
                droplet.name,
                f"{facts.app.system_name}.service is {server.unit.ActiveState}; {consequence}",
                f"run journalctl -u {facts.app.system_name} there",
            )
        elif problems := list(_unhealthy(facts, droplet, color, server.revision if server else None)):
            yield warning(
                droplet.name,
                f"{'; '.join(dict.fromkeys(problems))}; {consequence}",
                f"run journalctl -u {facts.app.system_name} there",
            )


def _unhealthy(facts: Facts, droplet: Droplet, color: Color, revision: str | None) -> Iterator[str]:
    for name, status in facts.readable.items():
        for seen in status.servers.get(color, ()):
            if seen.name == droplet.name and not seen.up:
                yield f"{name} considers it down ({seen.check or 'not checked yet'})"
    for proxy, facts_there in facts.read_proxies():
        probe = facts_there.probes.get(droplet.name)
        if probe is None:
            continue
        statuses = facts.app.good_statuses(facts.app.health.path)
        if not is_good(probe.status, statuses):
            shown = f"status {probe.status}, allowed are {allowed(statuses)}" if probe.status else probe.error
            yield f"it answers {proxy.name} with {shown}"
        elif revision and probe.revision != revision:
            yield f"it answers {proxy.name} with revision {(probe.revision or 'none')[:12]}"
