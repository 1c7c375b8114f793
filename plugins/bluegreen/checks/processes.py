"""Checks of the app's processes and timers: the live color alone runs them, and they go well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from agent.processes import Kind, ProcessState
from bluegreen.checks.facts import AppServer, Facts, Source
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, FleetError
from bluegreen.fleet.droplets import Droplet
from bluegreen.run.processes import Placement, ProcessFact, listed

# Seconds since its start within which a process that was started again counts as unsteady.
UNSTEADY = 300.0
# Where a build puts the programs of dependencies, which the source does not have.
BUILT = "local"


def section(facts: Facts) -> Iterator[Finding]:
    """An app whose droplets run processes has a section for them: without it no deploy stops them."""
    if facts.app.has_processes:
        return
    found = {one.name for _, server in facts.read_servers() for one in server.processes if one.runs}
    if found:
        yield error(
            "setting processes",
            f"droplets run {listed(found)}, and the app's file has neither processes nor timers, so that a "
            "deploy would leave them running on the color that it comes from",
            "write processes: {} until a deploy has gone live",
        )


def units(facts: Facts) -> Iterator[Finding]:
    """No unit file has the name of one of a process or timer that a deploy has not written."""
    for droplet, server in facts.read_servers():
        judge = error if facts.is_needed(droplet) else warning
        for name in server.foreign_units:
            yield judge(
                droplet.name,
                f"/etc/systemd/system/{name} was not written by a deploy, and has the name of a unit of the "
                "app's processes and timers",
                "rename it, or remove it: a deploy to this droplet refuses to",
            )


def programs(facts: Facts) -> Iterator[Finding]:
    """A program that a command names by its path in the release is in the revision, if that is known."""
    app, source = facts.app, facts.source
    if not isinstance(source, Source) or source.files is None or app.build.commands:
        return
    commands = {f"processes.{name}": one.command for name, one in app.processes.items()}
    commands |= {f"timers.{name}": one.command for name, one in app.timers.items()}
    for setting, command in commands.items():
        path = PurePosixPath(command[0])
        in_release = "/" in command[0] and not path.is_absolute() and path.parts[:1] != (BUILT,)
        if in_release and ".." not in path.parts and str(path) not in source.app_files:
            yield error(
                f"setting {setting}",
                f"{command[0]} is not in {source.ref} ({source.revision[:12]})",
                "name a program of the revision, or one of the droplet by its name alone",
            )


def placement(facts: Facts) -> Iterator[Finding]:
    """The live color runs every process and timer, and the other one none."""
    where = placement_in(facts)
    if where is None or not facts.app.has_processes:
        return
    settles = f"bluegreen_provision__{facts.app.id}, or the next deploy, lets {where.color} alone run it"
    held, runs = where.on(where.others), where.on(where.own)
    at_work = {one.name for droplet in where.known for one in where.processes(droplet) if not one.is_off}
    if nowhere := frozenset().union(*map(where.off, where.own)) - at_work:
        yield error(str(where.color), f"no droplet runs {listed(nowhere)}", settles)
    if both := held & runs:
        yield error(str(where.color.other), f"both colors run {listed(both)}", settles)
    for droplet in where.others:
        if found := where.runs(droplet):
            yield warning(droplet.name, f"it runs {listed(found)}, and {where.color} is live", settles)
    for droplet in where.own:
        for problem in _on_live_droplet(where, droplet, nowhere):
            yield warning(droplet.name, problem, settles)
    for droplet, why in where.unknown(where.own).items():
        yield error(
            droplet.name,
            f"it cannot be asked what it runs ({why}), so a deploy would go live without the app's "
            "processes and timers, which nothing could stop there",
            "power it on or destroy it",
        )


def health(facts: Facts) -> Iterator[Finding]:
    """What runs of the app's processes and timers is of the current release, and goes well."""
    for droplet, server in facts.read_servers():
        for one in server.processes:
            if one.runs and one.is_there and one.release not in (None, server.current):
                yield warning(
                    droplet.name,
                    f"{one.label} is of the release {one.release}, and {server.current} is the current one",
                    "the next deploy to this droplet writes its unit again",
                )
            if problem := _problem(one, server):
                yield warning(droplet.name, f"{one.label} {problem}", f"run journalctl -u {one.unit} there")


def placement_in(facts: Facts) -> Placement | None:
    """Return what runs where; ``None`` if it is not known which color is to run anything."""
    if (color := _color(facts)) is None:
        return None
    droplets = facts.fleet.blue + facts.fleet.green
    return Placement(facts.fleet, color, {droplet: _known(facts, droplet) for droplet in droplets})


def _color(facts: Facts) -> Color | None:
    """Return the live color, or, while a switch is undecided, the one from before it."""
    if not facts.is_live_known:
        return None
    origins = {one.pending.from_color for one in facts.readable.values() if one.pending}
    return origins.pop() if len(origins) == 1 else facts.live


def _known(facts: Facts, droplet: Droplet) -> tuple[ProcessFact, ...] | BlueGreenError:
    reading = facts.servers.get(droplet.name)
    if droplet.is_new:
        return ()
    if reading is None:
        return FleetError("; ".join(droplet.problems) or "it was not asked")
    return reading.answer.processes if isinstance(reading.answer, AppServer) else reading.answer


def _on_live_droplet(where: Placement, droplet: Droplet, nowhere: frozenset[str]) -> Iterator[str]:
    """Describe what a live droplet does not run as it should, but for names that run nowhere at all."""
    if found := where.off(droplet) - nowhere:
        yield f"it does not run {listed(found)}"
    wanted, known = where.wanted(droplet), where.processes(droplet)
    running = {one.name for one in known if not one.is_off and not one.enabled}
    if found := wanted & running:
        yield f"it would not run {listed(found)} after a restart of it"
    # An instance beyond the count is named by its number.
    others = {one.name for one in known if one.runs and one.name not in wanted}
    others |= {one.label for one in known if one.runs and one.name in wanted and not one.is_there}
    if others:
        yield f"it runs {listed(others)}, and is not to"


def _problem(one: ProcessFact, server: AppServer) -> str:
    """Return how a process or a timer that runs there goes badly; empty if it does not."""
    if not one.runs:
        return ""
    if one.kind is Kind.TIMER:
        return f"ran last with {one.how_it_ended}" if one.has_failed else ""
    if one.state in (ProcessState.FAILED, ProcessState.RESTARTING):
        return f"is {one.state}: it ended with {one.how_it_ended}, and was started again {one.restarts} times"
    recent = one.since is not None and server.clock - one.since < UNSTEADY
    if one.restarts and recent:
        return (
            f"does not stay up: it ended with {one.how_it_ended}, and was started again {one.restarts} times"
        )
    return ""
