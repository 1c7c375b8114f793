"""A worker and a timer that note when they have worked, and in which release; all droplets have one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tests.sandbox.stack import SYSTEM_NAME, Stack

NAMES = ("worker", "beat")
# A beat every so many seconds.
EVERY = 5
_FILES = f"/var/lib/{SYSTEM_NAME}/ticks"


def worker(seconds: float = 0) -> list[str]:
    """Return a command that notes each second that it is at work.

    :param seconds: how long it goes on with what it has begun once it is asked to end.
    """
    step = "sleep 1 & wait $!"
    return ["bash", "-c", f"trap 'sleep {seconds}; exit' TERM; while {_noted('worker')}; do {step}; done"]


def sections(seconds: float = 0) -> dict[str, Any]:
    """Return the settings of a worker on each droplet, and of a timer on one; see :func:`worker`."""
    beat = {"command": ["bash", "-c", _noted("beat")], "calendar": f"*:*:0/{EVERY}"}
    return {"processes": {"worker": {"command": worker(seconds)}}, "timers": {"beat": beat}}


def _noted(name: str) -> str:
    return f'echo "$(date +%s.%N) $PWD" >>{_FILES}.{name}'


@dataclass(frozen=True)
class Tick:
    """A moment of work.

    :param at: in seconds since the epoch.
    :param directory: where it was done, which names the release.
    """

    at: float
    color: str
    droplet: str
    directory: str


def ticks(stack: Stack, name: str, since: float) -> list[Tick]:
    """Return what was noted on all droplets that are on, in the order of the work."""
    found = []
    for color in ("blue", "green"):
        for machine in stack.machines(color):
            if machine.status != "active":
                continue
            lines = machine.run(["cat", f"{_FILES}.{name}"], check=False).stdout.splitlines()
            # The last line may be half of one after a loss of power.
            noted = [line.split() for line in lines if len(line.split()) == 2]
            found += [
                Tick(float(at), color, machine.name, where) for at, where in noted if float(at) >= since
            ]
    return sorted(found, key=lambda tick: tick.at)


def colors(found: Sequence[Tick]) -> list[str]:
    """Return whose turn it was, one color after another: two at work at once take turns many times."""
    return [color for color, _ in groupby(found, key=lambda tick: tick.color)]


def units(stack: Stack, color: str) -> dict[str, str]:
    """Return how worker and timer are on each droplet of a color, now and after a restart."""
    ask = " ; ".join(
        f"echo $(systemctl is-active {unit}) $(systemctl is-enabled {unit})"
        for unit in (f"{SYSTEM_NAME}-worker@1.service", f"{SYSTEM_NAME}-beat.timer")
    )
    return {one.name: ", ".join(one.run(ask).stdout.splitlines()) for one in stack.machines(color)}
