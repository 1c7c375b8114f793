"""Which droplets run an app's processes and timers, and what changes so that the live color alone does.

Nothing here acts. A *name* is a key of the settings ``processes`` or ``timers``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from agent.processes import Kind, ProcessState, RunOn
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.traffic.agent_answers import ProxyStatus, utc
from bluegreen.traffic.live import live_color

# Names that a line for people has at most.
MOST_SHOWN = 4


class ProcessFact(BaseModel):
    """A process or a timer on a droplet: see :class:`agent.processes.ProcessRecord`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    unit: str
    kind: Kind
    droplets: RunOn | None
    overlap: bool
    state: ProcessState
    enabled: bool
    up: bool
    release: str | None
    result: str
    exit_status: int
    restarts: int
    since: float | None

    @property
    def runs(self) -> bool:
        """Whether it runs, or would after a restart of the droplet."""
        return self.enabled or self.state not in (ProcessState.STOPPED, ProcessState.FAILED)

    @property
    def is_settled(self) -> bool:
        """Whether it runs, has stayed up, and would run again after a restart of the droplet."""
        return self.enabled and self.up

    @property
    def is_off(self) -> bool:
        """Whether it does not run, and systemd does not try, be it enabled or not."""
        if self.kind is Kind.TIMER:
            return not self.up
        return self.state is ProcessState.STOPPED or not self.runs

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end; the command of a timer may end by itself."""
        return self.kind is Kind.PROCESS and self.state is ProcessState.STOPPING

    @property
    def is_there(self) -> bool:
        """Whether the droplet's release has it; otherwise it is left from another one."""
        return self.droplets is not None

    @property
    def on_one(self) -> bool:
        """Whether only one droplet of its color is to run it."""
        return self.droplets is RunOn.ONE

    @property
    def label(self) -> str:
        """Its name, with its number if it is a process: ``worker@1``."""
        number = re.search(r"@[0-9]+(?=\.service$)", self.unit)
        return self.name + (number[0] if number else "")

    @property
    def has_failed(self) -> bool:
        """Whether it ended badly last; a signal to stop is no bad end."""
        return self.result not in ("", "success")

    @property
    def how_it_ended(self) -> str:
        """How it ended last, in words: ``exit status 2``, ``signal 9``, ``timeout``."""
        named = {"exit-code": "exit status", "signal": "signal", "core-dump": "signal"}
        if self.result not in named:
            return f"exit status {self.exit_status}" if self.result == "success" else self.result
        return f"{named[self.result]} {self.exit_status}"

    def __str__(self) -> str:
        """Return its state in words: ``running since …, started again 3 times``."""
        since = f" since {utc(self.since)}" if self.since else ""
        words = [f"{self.state}{since}"]
        if self.restarts:
            words.append(f"started again {self.restarts} times")
        if self.has_failed:
            words.append(f"ended with {self.how_it_ended}")
        return ", ".join(words)


# What each droplet reports, or why that is not known.
Known = Mapping[Droplet, Sequence[ProcessFact] | BlueGreenError]


class ProcessesMove(BaseModel):
    """What a task has done about an app's processes and timers; in the ledger, too.

    :param color: the live color, which is to run them; ``None`` if nothing is live, or that is not known.
    :param moved: names that the other color ran before.
    :param started: names that no droplet of the other color ran.
    :param stopped: names that ran where they do not belong, too.
    :param droplets: of the live color, those where something was started.
    :param trouble: why they do not run as they should, in one line; empty if they do.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    color: Color | None = None
    moved: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    droplets: tuple[str, ...] = ()
    trouble: str = ""

    def __str__(self) -> str:
        """Return it in words; empty if nothing had to be done."""
        if self.trouble or self.color is None:
            return self.trouble
        count = len(self.droplets)
        where = f"{self.color} ({count} droplet{'' if count == 1 else 's'})"
        done = [
            f"{listed(self.moved)} moved to {where}" if self.moved else "",
            f"{listed(self.started)} started on {where}" if self.started else "",
            f"{listed(self.stopped)} stopped on droplets that are not to run it" if self.stopped else "",
        ]
        return "; ".join(filter(None, done))


@dataclass(frozen=True)
class Placement:
    """What the droplets of an app run beside its web server, and what they are to run.

    :param color: the color that is to run everything.
    :param known: of every droplet of both colors, and of the strays.
    :param strays: the app's droplets that have lost their role, or have several.
    """

    fleet: Fleet
    color: Color
    known: Known
    strays: tuple[Droplet, ...] = ()

    @property
    def own(self) -> tuple[Droplet, ...]:
        """The droplets that are to run everything."""
        return self.fleet.color(self.color)

    @property
    def others(self) -> tuple[Droplet, ...]:
        """The droplets that are to run nothing."""
        return self.fleet.color(self.color.other) + self.strays

    def processes(self, droplet: Droplet) -> Sequence[ProcessFact]:
        """Return what a droplet reports; nothing if it reports nothing."""
        found = self.known[droplet]
        return () if isinstance(found, BlueGreenError) else found

    def runs(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that run on a droplet, or would after a restart of it."""
        return frozenset(one.name for one in self.processes(droplet) if one.runs)

    def on(self, droplets: Iterable[Droplet]) -> frozenset[str]:
        """Return the names that run on any of some droplets."""
        return frozenset().union(*map(self.runs, droplets))

    def holder(self, name: str) -> Droplet | None:
        """Return the droplet that has what only one is to run: the first that knows it, in the fleet's order.

        Before it there may be a droplet that cannot be asked. That one may run it, so nobody else begins.
        """
        for droplet in self.own:
            if isinstance(self.known[droplet], BlueGreenError):
                return next((one for one in self.own if name in self.runs(one)), None)
            if name in self._of_release(droplet):
                return droplet
        return None

    def wanted(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that a droplet is to run; its release knows them.

        Two droplets of a color may have releases with other settings, if a rollback has installed one anew.
        """
        if droplet not in self.own:
            return frozenset()
        names = self._of_release(droplet)
        return frozenset(one for one in names if one not in self._on_one or droplet == self.holder(one))

    def surplus(self, droplet: Droplet) -> frozenset[str]:
        """Return the names of what runs on a droplet and is not to, or is about to end; one unit will do."""
        wanted = self.wanted(droplet)
        return frozenset(
            one.name
            for one in self.processes(droplet)
            if one.runs and (one.name not in wanted or not one.is_there or one.is_ending)
        )

    def missing(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that a droplet is to run, and that are not settled there with all of their units.

        That a unit is enabled says nothing: it is before it is started, and it stays so when it falls.
        """
        wanted = self.wanted(droplet)
        return frozenset(
            one.name
            for one in self.processes(droplet)
            if one.name in wanted and one.is_there and not one.is_settled
        )

    def off(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that a droplet is to run, and does not, or not all of their units."""
        found = {one.name for one in self.processes(droplet) if one.is_there and one.is_off}
        return self.wanted(droplet) & found

    @property
    def all_missing(self) -> frozenset[str]:
        """The names that are to run on any droplet, and are not settled there."""
        return frozenset().union(*map(self.missing, self.own))

    def unknown(self, droplets: Iterable[Droplet]) -> dict[Droplet, BlueGreenError]:
        """Return those of some droplets of which it is not known what they run, and why."""
        asked = {droplet: self.known[droplet] for droplet in droplets}
        return {droplet: why for droplet, why in asked.items() if isinstance(why, BlueGreenError)}

    @property
    def stranded(self) -> frozenset[str]:
        """The names that run where they are not to, and that would run nowhere if they were stopped there.

        If all droplets of the color can be asked, there are none: its release does not have those names.
        """
        if self.own and not self.unknown(self.own):
            return frozenset()
        surplus = frozenset().union(*map(self.surplus, self.known))
        return surplus.difference(*map(self.wanted, self.own))

    def ran(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that run on a droplet, and that it could start again."""
        return frozenset(one.name for one in self.processes(droplet) if one.runs and one.is_there)

    def settled(self, droplet: Droplet) -> frozenset[str]:
        """Return the names that a droplet is to run, and runs well."""
        return self.wanted(droplet) - self.missing(droplet)

    def early(self) -> dict[Droplet, frozenset[str]]:
        """Return what droplets of the color run once that is added which may overlap, where there is any.

        What has moved before, and does not stay up, does not hold back what still has to move.
        """
        found, held = {}, self.on(self.others)
        for droplet in self.own if held else ():
            overlapping = {one.name for one in self.processes(droplet) if one.overlap} & self.missing(droplet)
            if overlapping := overlapping - (self.runs(droplet) - held):
                found[droplet] = self.settled(droplet) | overlapping
        return found

    def moved(self, droplets: Iterable[Droplet]) -> ProcessesMove:
        """Return what was done, once everything is as it should be.

        :param droplets: those of the color where something was started.
        """
        held, missing = self.on(self.others), self.all_missing
        surplus = frozenset().union(*map(self.surplus, self.known))
        return ProcessesMove(
            color=self.color,
            moved=tuple(sorted(missing & held)),
            started=tuple(sorted(missing - held)),
            stopped=tuple(sorted(surplus - missing)),
            droplets=tuple(droplet.name for droplet in droplets),
        )

    def blocked(self, reasons: Mapping[Droplet, BlueGreenError], app_id: str) -> str:
        """Say that nothing moves, what runs where, and what to do.

        :param reasons: for each droplet that is in the way, why it is.
        """
        held, missing = self.on(self.others), self.all_missing
        clauses = []
        if held:
            clauses.append(f"{listed(held)} stay{_s(held)} on {self.color.other}")
        if nowhere := missing - held - self.on(self.own):
            clauses.append(f"no droplet that can be asked runs {listed(nowhere)}")
        if not clauses:
            clauses.append(f"{listed(missing)} cannot be started on {self.color}")
        return (
            f"{' and '.join(clauses)}, because {_named(reasons)} may go on running what it ran: "
            f"{_joined(reasons)}; fix or destroy it, then run bluegreen_provision__{app_id}, which "
            f"starts everything on {self.color}"
        )

    def waiting(self, app_id: str) -> str:
        """Say that nothing moves, because droplets of the color cannot be asked, or it has none."""
        names, reasons = self.stranded, self.unknown(self.own)
        places = {self.color.other: self.others, self.color: self.own}
        where = " and ".join(color for color, droplets in places.items() if names & self.on(droplets))
        why = f"{self.color} has no droplets; run"
        if reasons:
            why = f"{_named(reasons)} cannot be asked: {_joined(reasons)}; fix or destroy it, then run"
        return (
            f"{listed(names)} stay{_s(names)} on {where}, because {why} bluegreen_provision__{app_id}, which "
            f"starts everything on {self.color}"
        )

    def incomplete(self, done: ProcessesMove, reasons: Mapping[Droplet, BlueGreenError], app_id: str) -> str:
        """Say that droplets were left out, and what to do.

        :param done: what was done without them.
        :param reasons: for each of them, why it was.
        """
        names = frozenset().union(*map(self._of_release, self.own))
        unseen = names.difference(self.all_missing, self.on(self.own))
        only = f", and no other droplet runs {listed(unseen)}" if unseen else ""
        return (
            f"{f'{done}, but ' if str(done) else ''}{_named(reasons)} cannot be asked{only}: "
            f"{_joined(reasons)}; fix or destroy it, then run bluegreen_provision__{app_id}"
        )

    def unwell(self, names: Iterable[str], reasons: Mapping[Droplet, BlueGreenError], app_id: str) -> str:
        """Say that some names do not run as they should on the color, and what to do."""
        return (
            f"{self.color} is to run {listed(names)}, and something is wrong: {_joined(reasons)}; traffic "
            f"stays there; fix it, then deploy, or run bluegreen_provision__{app_id} to try again, or "
            f"bluegreen_rollback__{app_id}"
        )

    @cached_property
    def _on_one(self) -> frozenset[str]:
        """The names that only one droplet of the color is to run."""
        return frozenset(one.name for droplet in self.own for one in self.processes(droplet) if one.on_one)

    def _of_release(self, droplet: Droplet) -> frozenset[str]:
        return frozenset(one.name for one in self.processes(droplet) if one.is_there)


def color_to_run(statuses: Mapping[str, ProxyStatus]) -> Color | None:
    """Return the color that is to run an app's processes and timers: the live one, once that is certain.

    :param statuses: the answer of each proxy, by its name.
    :return: ``None`` if nothing is live.
    :raises BlueGreenError: if a switch is undecided, the proxies disagree, or the live color was never
        confirmed.
    """
    for name, status in sorted(statuses.items()):
        if status.pending is not None:
            raise BlueGreenError(
                f"{name} has a switch to {status.pending.to} that is not decided, by {status.pending.run_id}"
            )
    live = live_color(statuses)
    if live is None:
        return None
    confirmed = any(
        live in one.good or (one.confirmed is not None and one.confirmed.color is live)
        for one in statuses.values()
    )
    if not confirmed:
        raise BlueGreenError(f"{live} is live, and no proxy knows that this was ever confirmed")
    return live


def listed(names: Iterable[str]) -> str:
    """Return names in words: ``worker``, ``cleanup and worker``; the rest is counted."""
    known = sorted(names)
    shown, more = known[:MOST_SHOWN], len(known) - MOST_SHOWN
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _s(names: Collection[str]) -> str:
    return "s" if len(names) == 1 else ""


def _named(droplets: Iterable[Droplet]) -> str:
    return " and ".join(droplet.name for droplet in droplets)


def _joined(reasons: Mapping[Droplet, BlueGreenError]) -> str:
    return "; ".join(dict.fromkeys(map(str, reasons.values())))
