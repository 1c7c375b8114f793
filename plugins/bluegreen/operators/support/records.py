"""The record of a run, from what Airflow and the proxies know about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.failures import ERROR_KEY
from bluegreen.operators.support.states import found_plan, is_emergency, told
from bluegreen.run.ledger import Record, Validation
from bluegreen.traffic.agent_answers import Counters, ProxyStatus, SwitchResult
from bluegreen.traffic.drain import Drain
from bluegreen.traffic.live import confirmed_revision

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color


def triggered_by(context: Context) -> str:
    """Return the user who triggered a run, or what else did."""
    run = context["dag_run"]
    return run.triggering_user_name or run.run_type.value


def revision_of(context: Context) -> str | None:
    """Return what the run deploys, goes back to or tries dry, as far as it is known."""
    found: str | None = (
        told(context, "resolve_ref")
        or told(context, "previous_release", "revision")
        # This one is skipped if it finds nothing, so that what follows is.
        or context["ti"].xcom_pull(task_ids="check", key="revision")
    )
    return found


def begun(context: Context, subject: str) -> Record:
    """Return what is known when a run begins.

    :param subject: what the run is to do.
    """
    run = context["dag_run"]
    params = context.get("params") or {}
    return Record(
        dag_id=run.dag_id,
        run_id=run.run_id,
        attempt=run.clear_number or 0,
        trigger=run.run_type.value,
        triggered_by=triggered_by(context),
        reason=params.get("reason") or None,
        subject=subject,
        ref=params.get("ref"),
        revision=revision_of(context),
        emergency=is_emergency(context),
        started=run.start_date,
    )


def ended(
    began: Record,
    context: Context,
    *,
    outcome: str,
    message: str,
    older: str | None,
    approved_by: str | None,
    live: Color | None,
    live_known: bool,
    statuses: Mapping[str, ProxyStatus],
) -> Record:
    """Complete the record.

    :param began: its beginning.
    :param outcome: how the run ended.
    :param message: the report's line.
    :param older: by how much its revision was older than what was live, if it was.
    :param approved_by: who approved its switch, if anybody did.
    :param live: who is live, as all proxies say.
    :param live_known: whether they do.
    :param statuses: what each of them said last; empty if they could not be asked.
    """
    plan, drain = found_plan(context), told(context, "drain")
    said = told(context, "switch_traffic") or {}
    switches = {name: SwitchResult.parse(answer) for name, answer in said.items()}
    moved = [one.at for one in switches.values() if one.at is not None]
    counted = _since(switches, statuses, plan.idle) if plan and switches else None
    return began.model_copy(
        update={
            "ended": datetime.now(UTC).replace(microsecond=0),
            "outcome": outcome,
            "message": message,
            "older": older,
            "approved_by": approved_by,
            "from_color": plan.live if plan else None,
            "to": plan.idle if plan else None,
            "phases": _phases(context),
            "switched_at": datetime.fromtimestamp(round(max(moved), 3), UTC) if moved else None,
            "switch_ms": max(one.milliseconds for one in switches.values()) if moved else None,
            "requests": counted.requests if counted else None,
            "failed": counted.responses_5xx if counted else None,
            "validation": _validation(context),
            "drain": Drain.model_validate(drain) if drain else None,
            "live": live,
            "live_known": live_known,
            "live_revision": confirmed_revision(live, statuses.values()),
        }
    )


def _validation(context: Context) -> Validation | None:
    """What the bake came to; of what it saw only the new color, so that a line stays short."""
    if verdict := told(context, "final_validation", ERROR_KEY):
        return Validation(verdict=verdict)
    if not (seen := told(context, "final_validation")):
        return None
    return Validation(
        seconds=seen["bake_seconds"],
        own_requests={path: each["new"] for path, each in seen["own_requests"].items()},
        all_requests={name: each["new"] for name, each in seen["all_requests"].items()},
        rests_on=seen["rests_on"],
    )


def _phases(context: Context) -> dict[str, float]:
    """Seconds of each task that has ended."""
    ti: Any = context["ti"]
    return {
        one["task_id"] if one["map_index"] < 0 else f"{one['task_id']}_{one['map_index']}": round(
            one["duration"], 1
        )
        for one in ti.get_task_breadcrumbs(ti.dag_id, ti.run_id)
        if one["duration"] is not None
    }


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
