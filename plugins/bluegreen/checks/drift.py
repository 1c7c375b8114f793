"""Checks for drift: changes that were not made by a deploy."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from agent.droplet.manifest import PLACE as MANIFEST
from agent.release_name import is_release, revision_of
from bluegreen.checks.facts import AppServer, Facts
from bluegreen.checks.finding import Finding, difference, warning
from bluegreen.checks.gather.expected import (
    BOOT_UNIT_PATH,
    CONFIG_PATH,
    DROP_IN_PATH,
    MAP_PATH,
    expected_boot_unit,
    expected_unit,
    has_units_of,
    unit_path,
)
from bluegreen.checks.release_facts import Comparison
from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet
from bluegreen.release.release import pairing
from bluegreen.traffic.agent_answers import TrafficMap

# Where neither the unit nor a record names a configuration, the unit cannot be what a deploy would install.
UNKNOWN_DIGEST = "0" * 64


def haproxy_file(facts: Facts) -> Iterator[Finding]:
    """``haproxy.cfg`` is what a deploy would install, and HAProxy runs it."""
    if not isinstance(facts.config, str):
        return
    wanted = hashlib.sha256(facts.config.encode()).hexdigest()
    for droplet, proxy in facts.read_proxies():
        there, status = proxy.files.get(CONFIG_PATH) or "", facts.readable.get(droplet.name)
        if there != facts.config:
            yield warning(
                f"{droplet.name} {CONFIG_PATH}",
                "it differs from what a deploy would install",
                "the next deploy replaces it and reloads HAProxy",
                difference(CONFIG_PATH, there, facts.config),
            )
        elif status is not None and status.haproxy.config_sha256 != wanted:
            yield warning(
                f"{droplet.name} haproxy.service",
                "something else has started or reloaded HAProxy since the last deploy",
                "the next deploy reloads it",
            )
        if foreign := " ".join(one for one in proxy.unit.DropInPaths.split() if one != DROP_IN_PATH):
            yield warning(
                f"{droplet.name} haproxy.service",
                f"it is changed by {foreign}",
                "make sure that this is intended",
            )


def traffic_map(facts: Facts) -> Iterator[Finding]:
    """The map file and the running HAProxy agree on which color is live."""
    for name, status in facts.readable.items():
        if status.map_running is None:
            if status.map_file is not None and status.haproxy.running:
                yield warning(
                    f"{name} {MAP_PATH}",
                    "the running HAProxy has no usable map, so clients may get no answer, or a wrong color",
                    "deploy: its task render_and_reload applies the file",
                )
        elif not status.consistent:
            yield warning(
                f"{name} {MAP_PATH}",
                "it differs from what the running HAProxy uses",
                "the next deploy writes the running map to the file; a restart before that applies the file",
                difference(MAP_PATH, _map(status.map_file), _map(status.map_running)),
            )


def agent(facts: Facts) -> Iterator[Finding]:
    """The agent that reverts an unconfirmed switch is this version's, and starts at boot."""
    if not any(one.live for one in facts.readable.values()):
        return
    expected = expected_boot_unit()
    for droplet, proxy in facts.read_proxies():
        status = facts.readable.get(droplet.name)
        installed = status.agent if status else None
        if installed is not None and installed.difference is not None:
            yield _not_this_projects(f"{droplet.name} {installed.path}", installed.difference)
        there = proxy.files.get(BOOT_UNIT_PATH)
        if there != expected:
            diff = difference(BOOT_UNIT_PATH, there, expected) if there else ()
            yield _not_this_projects(f"{droplet.name} {BOOT_UNIT_PATH}", diff)


def _not_this_projects(subject: str, diff: Sequence[str]) -> Finding:
    return warning(
        subject,
        "it differs from this project's" if diff else "it is not there",
        "the next run that takes the lock installs it",
        diff,
    )


def units(facts: Facts) -> Iterator[Finding]:
    """The app's unit is what a deploy would install, and nothing else changes it."""
    path = unit_path(facts.app)
    for droplet, server in _with_release(facts):
        subject = f"{droplet.name} {path}"
        there, expected = _units(facts, droplet, server)
        if there != expected:
            yield warning(
                subject,
                "it differs from what a deploy would install" if there else "it is not there",
                "the next deploy to this droplet writes it",
                difference(path, there, expected) if there else (),
            )
        elif there and not _has_units(facts, droplet, server):
            yield warning(
                subject,
                "the units of processes and timers differ from what a deploy would install",
                "the next deploy to this droplet writes them",
            )
        meant = f"{path}.d/local.conf"
        if foreign := " ".join(one for one in server.unit.DropInPaths.split() if one != meant):
            yield warning(
                subject, f"it is changed by {foreign}", f"make sure that this is intended; {meant} always is"
            )
        if server.unit.NeedDaemonReload == "yes":
            yield warning(
                subject, "it has changed since systemd read it", "run systemctl daemon-reload there"
            )
        on_purpose = facts.is_stopped_on_purpose(droplet, server)
        if there and server.unit.UnitFileState != "enabled" and not on_purpose:
            yield warning(
                subject,
                f"the app is {server.unit.UnitFileState or 'not enabled'} at boot",
                f"run systemctl enable {facts.app.system_name} there",
            )


def _units(facts: Facts, droplet: Droplet, server: AppServer) -> tuple[str, str]:
    """Return the app's unit on a droplet as it is, and as a deploy would install it."""
    there, current = server.files.get(unit_path(facts.app)) or "", str(server.current)
    if not is_release(current):
        return there, ""
    return there, expected_unit(facts.app, droplet, current, _configuration(server))


def is_as_deployed(facts: Facts) -> bool:
    """Whether a deploy of the same release would leave the live droplets and HAProxy's file as they are.

    These are the rules by which :func:`haproxy_file`, :func:`units` and :func:`configurations` warn that the
    next deploy writes something: a deploy that finds nothing to do must not contradict them.
    """
    if facts.live is None:
        return False
    servers = dict(facts.read_servers())
    live = [(one, servers.get(one)) for one in facts.fleet.color(facts.live)]
    return runs_config(facts) and all(
        server is not None and _is_whole(facts, droplet, server) for droplet, server in live
    )


def runs_config(facts: Facts) -> bool:
    """Whether every proxy runs, and has on its disk, what a deploy would install as ``haproxy.cfg``."""
    if not isinstance(facts.config, str):
        return False
    wanted = hashlib.sha256(facts.config.encode()).hexdigest()
    haproxies = [one.haproxy for one in facts.readable.values()]
    return all((one.file_sha256, one.config_sha256) == (wanted, wanted) for one in haproxies)


def _is_whole(facts: Facts, droplet: Droplet, server: AppServer) -> bool:
    used = server.configuration
    return _has_units(facts, droplet, server) and used is not None and used.problem is None


def _has_units(facts: Facts, droplet: Droplet, server: AppServer) -> bool:
    """Whether a droplet's units, those of processes and timers included, are what a deploy would install."""
    if not is_release(str(server.current)):
        return False
    expected = pairing(facts.app, str(server.current), _configuration(server), str(droplet.private))
    return has_units_of(facts.app, server, expected)


def _configuration(server: AppServer) -> str:
    """Return the digest of the configuration that a droplet's current release is to run with."""
    used = server.configuration.digest if server.configuration else None
    return used or server.configured.get(str(server.current)) or UNKNOWN_DIGEST


def configurations(facts: Facts) -> Iterator[Finding]:
    """What an app runs with is as it was delivered, and for the live color what the settings say now."""
    for droplet, server in _with_release(facts):
        used = server.configuration
        if used is None:
            continue
        subject, name = f"{droplet.name} configuration", used.digest[:12]
        if used.problem is not None:
            advice = "the next deploy to this droplet delivers it again"
            yield warning(subject, f"{name}: {used.problem}", advice)
        is_live = facts.live is not None and droplet in facts.fleet.color(facts.live)
        if is_live and isinstance(facts.configuration, str) and used.digest != facts.configuration:
            yield warning(
                subject,
                f"{name}: the app's environment or files were changed in Airflow since it was delivered",
                "the next deploy delivers them; deploy the same revision again if nothing else is new",
            )


def releases(facts: Facts) -> Iterator[Finding]:
    """The release that ``current`` names is running, and is as it was built."""
    for droplet, server in _with_release(facts):
        current = f"{droplet.name} /opt/{facts.app.system_name}/current"
        advice = "the next deploy to this droplet repairs it"
        if server.current not in server.releases:
            yield warning(current, f"it points to {server.current}, which is not a release there", advice)
            continue
        if server.current not in server.configured:
            yield warning(current, f"{server.current} was never healthy there", advice)
        if server.running is not None and server.running != server.current:
            yield warning(current, f"it points to {server.current}, but {server.running} runs", advice)
        if server.compared is not None:
            yield from _changed(current, server.compared)
    yield from _confirmed(facts)
    yield from _siblings(facts)


def _changed(current: str, compared: Comparison) -> Iterator[Finding]:
    advice = "deploy another commit; a deploy of this one refuses a release that was changed"
    for file in compared.files:
        yield warning(f"{current}/{file.path or MANIFEST}", file.what, advice)
    if compared.more:
        yield warning(current, f"{compared.more} more of its files are not as they were built", advice)


def _confirmed(facts: Facts) -> Iterator[Finding]:
    """The live color runs what the last confirmed switch was for."""
    confirmed = [one.confirmed for one in facts.readable.values() if one.confirmed and not one.pending]
    revisions = {one.revision for one in confirmed if one.color is facts.live}
    if facts.live is None or len(revisions) != 1:
        return
    [revision] = revisions
    for droplet, server in facts.read_servers():
        if droplet in facts.fleet.color(facts.live) and server.revision != revision:
            yield warning(
                f"{droplet.name} /opt/{facts.app.system_name}/current",
                f"it is {(server.revision or 'nothing')[:12]}, but {revision[:12]} was confirmed to be live",
                "somebody has deployed without this project: deploy again",
            )


def _siblings(facts: Facts) -> Iterator[Finding]:
    """The droplets of a color run one artifact of a revision."""
    for color in Color:
        running = [
            (droplet, server.current)
            for droplet, server in _with_release(facts)
            if droplet in facts.fleet.color(color)
        ]
        usual = Counter(release for _, release in running).most_common(1)
        for droplet, release in running:
            [(other, _)] = usual
            if release != other and revision_of(str(release)) == revision_of(str(other)):
                yield warning(
                    f"{droplet.name} /opt/{facts.app.system_name}/current",
                    f"it is another artifact of {str(release)[:12]} than its color runs: {release} instead "
                    f"of {other}",
                    "deploy again: a deploy installs one artifact everywhere",
                )


def _with_release(facts: Facts) -> Iterator[tuple[Droplet, AppServer]]:
    return ((droplet, server) for droplet, server in facts.read_servers() if server.current is not None)


def _map(one: TrafficMap | None) -> str:
    return f"live {one.live}\nidle {one.idle}\nidle_share {one.idle_share}\n" if one else ""
