"""From records to what is shown of an app: plain data, so that templates only print.

Everything that a run, a repository or an app has written is a stranger's. It is shortened and made one
printable line here, and escaped where it is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from bluegreen.checks.status import ServerStatus, Status
from bluegreen.color import Color
from bluegreen.page.at_work import RunView, run_view
from bluegreen.page.notices import Certificate, DryRun, HeldBy, certificates_of, dry_run_of, lock_of
from bluegreen.page.records import ActiveRun, AppRecords, Ended
from bluegreen.page.text import line
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import UNREPORTED, Outcome

# Outcomes after which the bad release is on the color that the run deployed to.
_LEFT_THERE = (Outcome.ROLLED_BACK, Outcome.FROZEN, Outcome.NOTHING_TO_GO_BACK_TO)
_MARKS = {
    Outcome.LIVE: "good",
    Outcome.ALREADY_LIVE: "good",
    Outcome.ALIGNED: "good",
    "done": "good",
    "nothing to do": "good",
    Outcome.ROLLED_BACK: "rolled back",
    Outcome.REFUSED: "refused",
    Outcome.REFUSED_BY_POLICY: "refused",
    Outcome.FROZEN: "frozen",
    Outcome.NOTHING_TO_GO_BACK_TO: "bad",
    "failed": "failed",
    Outcome.UNCLEAR: "unclear",
    UNREPORTED: "unclear",
}
LONGEST_MESSAGE = 600


@dataclass(frozen=True)
class DropletView:
    """A droplet's health, as the status found it."""

    name: str
    health: str
    is_good: bool


@dataclass(frozen=True)
class ColorView:
    """One color of an app.

    :param is_live: ``None`` if it is not known.
    :param share: of traffic, in percent; ``None`` if it is not known.
    :param note: what else is to know of the release, such as that it was rolled back.
    :param since: since when it is live, or when it was last.
    :param by: who deployed the release.
    :param droplets_at: when their health was seen.
    :param seen_before: whether that was before the release came there.
    """

    color: str
    is_live: bool | None
    share: int | None
    revision: str = ""
    ref: str = ""
    commit: str = ""
    note: str = ""
    since: datetime | None = None
    by: str = ""
    droplets: tuple[DropletView, ...] = ()
    droplets_at: datetime | None = None
    seen_before: bool = False


@dataclass(frozen=True)
class PastRun:
    """A run in the strip of the last ones.

    :param mark: ``good``, ``rolled back``, ``refused`` …: what became of it, in a word or two.
    """

    dag_id: str
    run_id: str
    mark: str
    subject: str
    message: str
    at: datetime


@dataclass(frozen=True)
class Traffic:
    """Which color is live, and when that was true; ``known`` is false if nobody has found out."""

    live: Color | None = None
    known: bool = False
    at: datetime | None = None


@dataclass(frozen=True)
class AppView:
    """What is shown of an app, from its records.

    :param problems: what could not be read, in one line each.
    """

    app_id: str
    traffic: Traffic
    colors: tuple[ColorView, ...]
    at_work: tuple[RunView, ...]
    past: tuple[PastRun, ...]
    lock: HeldBy | None
    dry_run: DryRun | None
    certificates: tuple[Certificate, ...]
    problems: tuple[str, ...]


def aware(moment: datetime) -> datetime:
    """Return a moment with its time zone; a record that was written by hand may have none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def app_view(records: AppRecords, now: datetime) -> AppView:
    """Return what is shown of an app."""
    problems: list[str] = []
    status = status_in(records, problems)
    runs = list(_runs(records, status, problems))
    traffic = traffic_of(records, status, runs)
    return AppView(
        app_id=records.app_id,
        traffic=traffic,
        colors=tuple(_color_view(color, traffic, records, status, runs) for color in Color),
        at_work=tuple(run_view(run) for run in records.active if run.kind != "status"),
        past=tuple(_past(run) for run in runs if not is_dry(run.record)),
        lock=lock_of(records, status),
        dry_run=dry_run_of(records),
        certificates=certificates_of(records, now),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class Run:
    """A run that has ended, from its record.

    :param commit: the subject of its commit, if it is known.
    """

    record: Record
    at: datetime
    commit: str


def is_dry(record: Record) -> bool:
    """Whether a run changed nothing by intent."""
    return record.outcome == Outcome.WOULD_SUCCEED or record.subject.startswith("dry run")


def status_in(records: AppRecords, problems: list[str]) -> Status | None:
    """Return the last status, if there is one of this version."""
    if records.status is None:
        return None
    try:
        return Status.model_validate(records.status.value)
    except ValidationError:
        problems.append("the last status is not of this version of the project: refresh")
        return None


def _runs(records: AppRecords, status: Status | None, problems: list[str]) -> Iterator[Run]:
    """Return the last runs, the latest first: from the asset's events, else from the ledger's last lines."""
    found: dict[tuple[str, str, int], Run] = {}
    unread = 0
    listed = [Ended(one, records.status.at) for one in status.runs] if status and records.status else []
    for one in [*records.ended, *listed]:
        try:
            record = Record.model_validate(one.record)
        except ValidationError:
            unread += 1
            continue
        found.setdefault(record.key, Run(record, aware(record.ended or one.at), line(one.commit)))
    if unread:
        problems.append(f"{unread} of the last runs left no record that this version can read")
    yield from sorted(found.values(), key=lambda run: run.at, reverse=True)


def traffic_of(records: AppRecords, status: Status | None, runs: Iterable[Run]) -> Traffic:
    """Return which color is live by the latest record that states it."""
    known = [Traffic(run.record.live, True, run.at) for run in runs if run.record.live_known]
    if status and records.status:
        known.append(Traffic(status.live, status.is_live_known, records.status.at))
    known += [moved for run in records.active if (moved := _moved_by(run))]
    epoch = datetime.fromtimestamp(0, UTC)
    return max(known, key=lambda one: one.at or epoch, default=Traffic())


def _moved_by(run: ActiveRun) -> Traffic | None:
    """Return where a run that is at work has moved the traffic, if it has."""
    if back := run.left.get(("rollback", "return_value")):
        color = back.value.get("live") if isinstance(back.value, Mapping) else None
        return Traffic(Color(color), True, back.at) if color in tuple(Color) else None
    if there := run.left.get(("switch_traffic", "return_value")):
        answers = list(there.value.values()) if isinstance(there.value, Mapping) else []
        colors = {one.get("to") if isinstance(one, Mapping) else None for one in answers}
        # What proxies disagree about is not known.
        color = colors.pop() if len(colors) == 1 else None
        return Traffic(Color(color), True, there.at) if color in tuple(Color) else None
    return None


def _color_view(
    color: Color, traffic: Traffic, records: AppRecords, status: Status | None, runs: list[Run]
) -> ColorView:
    is_live = traffic.live is color if traffic.known else None
    droplets = [one for one in status.droplets if one.color is color] if status else []
    seen_at = records.status.at if records.status else None
    view: dict[str, Any] = {
        "color": str(color),
        "is_live": is_live,
        "share": None if is_live is None else 100 if is_live else 0,
        "droplets": tuple(map(_droplet, droplets)),
        "droplets_at": seen_at if droplets else None,
    }
    run = next((one for one in runs if _is_on(one.record, color)), None)
    seen = {one.revision for one in droplets if one.revision}
    if droplets and seen_at and (run is None or seen_at > run.at):
        view |= _of_droplets(seen)
    if run and (not view.get("revision") or run.record.revision == view["revision"]):
        view |= _of_run(run, color)
    for one in records.active:
        view |= _of_active(one, color)
    if droplets and seen_at and (since := view.get("since")):
        view["seen_before"] = seen_at < since
    if view.get("revision"):
        view["commit"] = view.get("commit") or _commit_of(view["revision"], runs)
    return ColorView(**view)


def _of_active(run: ActiveRun, color: Color) -> dict[str, Any]:
    """Return what a run that is at work does to a color."""
    plan, revision = run.left.get(("provision_check", "plan")), run.left.get(("resolve_ref", "return_value"))
    if plan is None or not isinstance(plan.value, Mapping) or plan.value.get("idle") != color:
        return {}
    moved = _moved_by(run)
    if moved is None or moved.live is not color or revision is None:
        return {"note": f"a {run.kind.replace('_', ' ')} is at work here"}
    commit = run.left.get(("resolve_ref", "commit"))
    return {
        "revision": line(revision.value),
        "ref": line(run.conf.get("ref")) if isinstance(run.conf, Mapping) else "",
        "commit": line(commit.value) if commit else "",
        "since": moved.at,
        "by": line(run.by),
        "note": "not confirmed yet",
    }


def _is_on(record: Record, color: Color) -> bool:
    """Whether a run has left its release on a color, as far as its record states."""
    if record.to is not color or not record.revision:
        return False
    installed = any(task.startswith(("deploy", "restore")) for task in record.phases)
    return record.outcome in (Outcome.LIVE, *_LEFT_THERE) or installed


def _of_droplets(seen: set[str]) -> dict[str, Any]:
    if len(seen) > 1:
        return {"note": "its droplets have different releases"}
    return {"revision": line(next(iter(seen), ""))}


def _of_run(run: Run, color: Color) -> dict[str, Any]:
    record = run.record
    moved = record.switched_at if record.outcome == Outcome.LIVE and record.to is color else None
    return {
        "revision": line(record.revision),
        "ref": line(record.ref),
        "since": aware(moved or run.at),
        "by": line(record.triggered_by),
        "note": "" if record.outcome == Outcome.LIVE else line(record.outcome),
    }


def _commit_of(revision: str, runs: Iterable[Run]) -> str:
    return next((run.commit for run in runs if run.commit and run.record.revision == revision), "")


def _droplet(one: ServerStatus) -> DropletView:
    if one.problem:
        return DropletView(line(one.name), line(one.problem), is_good=False)
    checks = {line(check) for check in one.haproxy.values()}
    is_up = bool(checks) and all(check.startswith("up") for check in checks)
    good = is_up and one.service == "active"
    seen = ", ".join(sorted(checks)) or "not in HAProxy"
    return DropletView(line(one.name), "healthy" if good else f"{line(one.service)}; {seen}", good)


def _past(run: Run) -> PastRun:
    record = run.record
    return PastRun(
        dag_id=record.dag_id,
        run_id=record.run_id,
        mark=_MARKS.get(record.outcome, "unclear"),
        subject=line(record.subject),
        message=line(record.message, LONGEST_MESSAGE),
        at=run.at,
    )
