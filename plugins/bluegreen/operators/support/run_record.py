"""The record of a run, from what Airflow and the proxies know about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.failures import ERROR_KEY
from bluegreen.run.ledger import Record, Validation
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.agent_answers import Counters, GoodRelease, ProxyStatus, SwitchResult
from bluegreen.traffic.live import confirmed_revision

if TYPE_CHECKING:
    from bluegreen.color import Color
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.release.migrations import Migration
    from bluegreen.run.report import Report


def record_at_start(run: ThisRun, subject: str) -> Record:
    """Return what is known when a run begins.

    :param subject: what the run is to do.
    """
    dag_run = run.context["dag_run"]
    return Record(
        dag_id=dag_run.dag_id,
        run_id=dag_run.run_id,
        attempt=dag_run.clear_number or 0,
        trigger=dag_run.run_type.value,
        triggered_by=run.triggered_by,
        reason=run.params.get("reason") or None,
        subject=subject,
        ref=run.params.get("ref"),
        revision=run.revision,
        emergency=run.is_emergency,
        started=dag_run.start_date,
    )


def record_at_end(
    start: Record,
    run: ThisRun,
    *,
    report: Report,
    live_known: bool,
    contracted: bool,
    irreversible: str | None,
    migration: Migration | None,
    statuses: Mapping[str, ProxyStatus],
) -> Record:
    """Complete the record.

    :param start: the record at its start.
    :param contracted: whether a contract may have removed something.
    :param irreversible: why there is no way back from what traffic may have moved to, if there is none.
    :param migration: what was run of a migration.
    :param live_known: whether all proxies agree who is live.
    :param statuses: the last status of each proxy; empty if they could not be asked.
    """
    plan = run.plan
    answers = run.output("switch_traffic") or {}
    switches = {name: SwitchResult.parse(answer) for name, answer in answers.items()}
    counted = _since(switches, statuses, plan.idle) if plan and switches else None
    (release, configuration), revision = run.started or (None, None), start.revision
    if report.outcome in (Outcome.LIVE, Outcome.FROZEN):
        # A rollback believes this line, so it has what the sealed switch has reported to the proxies, and not
        # what XComs say by now.
        good = _good_of(report.live, statuses)
        release, configuration = (good.release, good.configuration) if good else (None, None)
        revision = good.revision if good else revision
    return start.model_copy(
        update={
            "ended": datetime.now(UTC).replace(microsecond=0),
            "outcome": report.outcome,
            "message": report.message,
            "revision": revision,
            "release": release,
            "configuration": configuration,
            "older": report.older,
            "approved_by": report.approved_by,
            "from_color": plan.live if plan else None,
            "to": plan.idle if plan else None,
            "phases": run.seconds_of_tasks,
            "migration": migration,
            "command": run.command,
            "contracted": contracted,
            "processes": run.processes,
            "irreversible": irreversible,
            **_moment(switches),
            "requests": counted.requests if counted else None,
            "failed": counted.responses_5xx if counted else None,
            "validation": _validation(run),
            "drain": run.drain,
            "live": report.live,
            "live_known": live_known,
            "ledgers": {name: one.ledger for name, one in statuses.items() if one.ledger},
            "live_revision": confirmed_revision(report.live, statuses.values()),
        }
    )


def _moment(switches: Mapping[str, SwitchResult]) -> dict[str, Any]:
    """Return when the last proxy moved the traffic, and in how many milliseconds the slowest one did."""
    moved = [one.at for one in switches.values() if one.at is not None]
    if not moved:
        return {"switched_at": None, "switch_ms": None}
    slowest = max(one.milliseconds for one in switches.values())
    return {"switched_at": datetime.fromtimestamp(round(max(moved), 3), UTC), "switch_ms": slowest}


def _good_of(color: Color | None, statuses: Mapping[str, ProxyStatus]) -> GoodRelease | None:
    """Return what all proxies know as confirmed on a color."""
    known = [one.good.get(color) for one in statuses.values()] if color else []
    return known[0] if known and all(one == known[0] for one in known) else None


def _validation(run: ThisRun) -> Validation | None:
    """What the bake came to; of what it saw only the new color, so that a line stays short."""
    if verdict := run.output("final_validation", ERROR_KEY):
        return Validation(verdict=verdict)
    if (seen := run.bake) is None:
        return None
    return Validation(
        seconds=seen.bake_seconds,
        own_requests={path: each["new"] for path, each in seen.own_requests.items()},
        all_requests={name: each["new"] for name, each in seen.all_requests.items()},
        rests_on=seen.rests_on,
    )


def _since(
    switches: Mapping[str, SwitchResult], statuses: Mapping[str, ProxyStatus], color: Color
) -> Counters | None:
    """Count what the new color was sent since the switch; None if a proxy did not say."""
    total = Counters()
    for name, switch in switches.items():
        if name not in statuses or color not in statuses[name].counters:
            return None
        total += statuses[name].counters[color] - switch.counters.get(color, Counters())
    return total
