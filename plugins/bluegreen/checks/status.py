"""Who is live, what runs where, and what happened last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from bluegreen.checks.facts import AppServer, Facts
from bluegreen.checks.finding import Finding
from bluegreen.checks.ledgers import missing_records
from bluegreen.checks.render import summary, table
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.ledger import Record
from bluegreen.run.processes import ProcessFact
from bluegreen.traffic.agent_answers import Confirmed, Counters, LastRevert, Lock, PendingSwitch, ProxyStatus

Rows = Sequence[Sequence[str]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ServerStatus(_Part):
    """An application droplet.

    :param haproxy: the state of each proxy's health check, by the proxy's name.
    :param probe: the droplet's answer to each proxy.
    :param packages: versions of the Debian packages that the app needs (``fleet.packages``).
    :param processes: the processes and timers of its release, and what is left of others.
    :param release: the revision's artifact, see :mod:`agent.release_name`.
    :param problem: why it could not be read.
    """

    name: str
    color: Color
    address: str
    is_live: bool
    revision: str | None = None
    release: str | None = None
    service: str = ""
    haproxy: dict[str, str] = {}
    probe: dict[str, str] = {}
    packages: dict[str, str] = {}
    processes: tuple[ProcessFact, ...] = ()
    problem: str | None = None


class TrafficFigures(Counters):
    """HAProxy's figures of one color; those of :class:`Counters` are since its last reload.

    :param in_progress: requests and upgraded connections.
    :param answer_time: milliseconds, on average of the last 1024 requests, queue included.
    """

    in_progress: int = 0
    answer_time: int = 0


class ProxyReport(_Part):
    """A proxy.

    :param lacks: of the last runs, how many its ledger has no record of, and how many runs these are.
    :param problem: why it could not be read; then it has no ``traffic``.
    """

    name: str
    address: str
    live: Color | None = None
    haproxy: str = ""
    running: bool = False
    moved_at: float | None = None
    lock: Lock | None = None
    pending: PendingSwitch | None = None
    confirmed: Confirmed | None = None
    last_revert: LastRevert | None = None
    traffic: dict[Color, TrafficFigures] = {}
    lacks: tuple[int, int] = (0, 0)
    problem: str | None = None


class Status(_Part):
    """The status of an app.

    :param live: the live color, if the proxies agree.
    :param runs: the last runs, the latest first.
    """

    app: str
    live: Color | None
    is_live_known: bool
    droplets: tuple[ServerStatus, ...]
    proxies: tuple[ProxyReport, ...]
    runs: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...]


def status_of(facts: Facts, findings: Sequence[Finding], runs: Sequence[Record]) -> Status:
    """Assemble the status; an unreachable machine never hides the others.

    :param runs: the last runs, oldest first.
    """
    return Status(
        app=facts.app.id,
        live=facts.live,
        is_live_known=facts.is_live_known,
        droplets=tuple(_servers(facts)),
        proxies=tuple(_proxies(facts)),
        runs=tuple(one.line() for one in reversed(runs)),
        findings=tuple(findings),
    )


def lines_of(status: Status) -> list[str]:
    """Return it as readable lines."""
    known = "" if status.is_live_known else " (not every proxy could be asked, or they disagree)"
    lines = [f"live: {status.live or 'nothing'}{known}", ""]
    lines += _aligned(
        ("droplet", "color", "", "revision", "service", "HAProxy's check", "answers"),
        [
            (
                one.name,
                one.color,
                "live" if one.is_live else "idle",
                (one.revision or "none")[:12],
                one.service,
                _together(one.haproxy),
                one.problem or _together(one.probe),
            )
            for one in status.droplets
        ],
    )
    lines += ["", *_aligned(("proxy", "live", "HAProxy", "moved", "state"), _rows(status))]
    lines += _traffic(status)
    processes = [
        (one.name, process.label, str(process), (process.release or "none")[:12])
        for one in status.droplets
        for process in one.processes
    ]
    if processes:
        lines += ["", *_aligned(("droplet", "process or timer", "state", "revision"), processes)]
    if status.runs:
        rows = [
            (str(run.get("ended", "")), str(run.get("outcome", "")), str(run.get("message", "")))
            for run in status.runs
        ]
        lines += ["", *_aligned(("run ended", "outcome", "message"), rows)]
    return [*lines, "", f"findings: {summary(status.findings)}", *table(status.findings)]


def _servers(facts: Facts) -> Iterator[ServerStatus]:
    for color in Color:
        for droplet in facts.fleet.color(color):
            reading = facts.servers.get(droplet.name)
            about: dict[str, Any] = {
                "name": droplet.name,
                "color": color,
                "address": str(droplet.public),
                "is_live": color is facts.live,
                "haproxy": {
                    name: f"{'up' if seen.up else 'down'} {seen.check}".strip()
                    for name, status in facts.readable.items()
                    for seen in status.servers.get(color, ())
                    if seen.name == droplet.name
                },
                "probe": {
                    proxy.name: str(probe.status or probe.error)
                    for proxy, there in facts.read_proxies()
                    if (probe := there.probes.get(droplet.name))
                },
            }
            if reading is None:
                yield ServerStatus(**about, problem=f"it is {droplet.status}")
            elif isinstance(reading.answer, AppServer):
                server = reading.answer
                about |= {"processes": server.processes, "packages": server.package_versions}
                state = server.unit.ActiveState
                yield ServerStatus(**about, revision=server.revision, release=server.current, service=state)
            else:
                yield ServerStatus(**about, problem=str(reading.answer))


def _proxies(facts: Facts) -> Iterator[ProxyReport]:
    lacking = missing_records(facts)
    for droplet in facts.fleet.proxies:
        status = facts.statuses.get(droplet.name)
        about: dict[str, Any] = {"name": droplet.name, "address": str(droplet.public)}
        if status is None or isinstance(status, BlueGreenError):
            yield ProxyReport(**about, problem=str(status or f"it is {droplet.status}"))
            continue
        yield ProxyReport(
            **about,
            live=status.live,
            haproxy=status.haproxy.version,
            running=status.haproxy.running,
            moved_at=status.moved_at,
            lock=status.lock,
            pending=status.pending,
            confirmed=status.confirmed,
            last_revert=status.last_revert,
            traffic={color: _figures(status, color) for color in Color},
            lacks=lacking.get(droplet.name, (0, 0)),
        )


def _rows(status: Status) -> Iterator[tuple[str, ...]]:
    for one in status.proxies:
        state = one.problem or "; ".join(_state(one)) or "calm"
        running = one.haproxy if one.running else "does not run"
        yield one.name, one.live or "nothing", running, _moment(one.moved_at), state


def _figures(status: ProxyStatus, color: Color) -> TrafficFigures:
    return TrafficFigures(
        **status.counters.get(color, Counters()).model_dump(),
        in_progress=status.sessions.get(color, 0),
        answer_time=status.answer_times.get(color, 0),
    )


def _traffic(status: Status) -> list[str]:
    heading = ("proxy", "color", "requests", "5xx", "unconnected", "retries", "in progress", "answers in")
    rows = [
        (
            one.name,
            color.value,
            *map(
                str,
                (had.requests, had.responses_5xx, had.connection_errors, had.retries, had.in_progress),
            ),
            f"{had.answer_time} ms",
        )
        for one in status.proxies
        for color, had in one.traffic.items()
    ]
    return ["", "since HAProxy's last reload:", *_aligned(heading, rows)] if rows else []


def _state(one: ProxyReport) -> Iterator[str]:
    if one.lock:
        yield f"locked by {one.lock.run_id} ({one.lock.owner})"
    if one.pending:
        yield f"switched to {one.pending.to}, reverts at {_moment(one.pending.deadline)} unless confirmed"
    if one.confirmed:
        yield f"{one.confirmed.revision[:12]} confirmed {_moment(one.confirmed.at)}"
    if one.last_revert:
        yield f"last revert {_moment(one.last_revert.at)}: {one.last_revert.reason}"
    if one.lacks[0]:
        yield f"its ledger lacks {one.lacks[0]} of the last {one.lacks[1]} runs, when it was away or new"


def _together(answers: dict[str, str]) -> str:
    """Merge the answers of all proxies if they are equal."""
    if len(set(answers.values())) == 1:
        return next(iter(answers.values()))
    return ", ".join(f"{name}: {one}" for name, one in sorted(answers.items())) or "?"


def _moment(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else "never"


def _aligned(heading: Sequence[str], rows: Iterator[tuple[str, ...]] | Rows) -> list[str]:
    listed = [heading, *rows]
    widths = [max(len(row[column]) for row in listed) for column in range(len(heading))]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]
