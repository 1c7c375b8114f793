"""From records to what is shown of a run that is at work: its steps, its bake, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from bluegreen.page.records import ActiveRun, Left, TaskState
from bluegreen.page.text import line

# Tasks in the order of a run; Airflow's database does not have it. Any other one comes by its start.
_ORDER = (
    *("resolve_ref", "check", "lock", "provision_check", "settle_processes", "previous_release", "align"),
    *("render_and_reload", "drain", "before_deploy", "build", "expand", "deploy", "restore", "health_check"),
    *("preview_check", "approval", "before_switch", "switch_traffic", "after_switch", "final_validation"),
    *("judge", "confirm", "rollback", "freeze", "after_rollback", "on_failure", "move_processes"),
    *("stop_idle_later", "report", "announce"),
)
# The state of a mapped task is the first of these that an instance has.
_WORST_FIRST = (
    "failed",
    "upstream_failed",
    "awaiting_input",
    "running",
    "up_for_retry",
    "queued",
    "scheduled",
)
_OVER = ("success", "failed", "upstream_failed", "skipped", "removed")
# The view box of the curve.
WIDTH, HEIGHT = 200, 40
MOST_POINTS = 200


@dataclass(frozen=True)
class Step:
    """A task of a run.

    :param state: Airflow's word; ``to come`` before it has one.
    :param count: of a mapped task, such as ``3 of 4``.
    """

    task_id: str
    state: str
    count: str = ""


@dataclass(frozen=True)
class Bake:
    """How a bake goes.

    :param requests: all requests to the new color since the switch; ``failed`` were answered with 5xx.
    :param curve: requests a second over time, as points of a line in a box; ``errors`` likewise.
    :param ends: when the bake is over if nothing goes wrong.
    """

    requests: int
    failed: int
    curve: str
    errors: str
    ends: datetime | None
    at: datetime


@dataclass(frozen=True)
class RunView:
    """A run that is at work.

    :param switched: when its switch was made, if traffic is where it moved it, and that is not confirmed.
    :param reverts_at: when the proxies take the switch back by themselves.
    :param waits_for: the question of an approval; ``waits_since`` likewise.
    """

    dag_id: str
    run_id: str
    kind: str
    subject: str
    reason: str
    commit: str
    state: str
    by: str
    since: datetime
    steps: tuple[Step, ...]
    done: int
    bake: Bake | None = None
    switched: datetime | None = None
    reverts_at: datetime | None = None
    waits_for: str = ""
    waits_since: datetime | None = None
    waits_in: str = ""


def run_view(run: ActiveRun) -> RunView:
    """Return what is shown of a run that is at work."""
    conf: Mapping[str, Any] = run.conf if isinstance(run.conf, Mapping) else {}
    what = line(conf.get("ref")) or line(conf.get("artifact"), 12) or line(conf.get("revision"), 12)
    kind = run.kind.replace("_", " ")
    steps = tuple(_steps(run.tasks))
    progress = run.left.get(("final_validation", "progress"))
    values = progress.value if progress and isinstance(progress.value, Mapping) else {}
    is_open = {"confirm", "rollback"}.isdisjoint(one.task_id for one in steps if one.state == "success")
    moved = run.left.get(("switch_traffic", "return_value"))
    question = run.question
    return RunView(
        dag_id=run.dag_id,
        run_id=run.run_id,
        kind=kind,
        subject=f"{kind} of {what}" if what else kind,
        reason=line(conf.get("reason")),
        commit=line(_value(run, "resolve_ref", "commit")),
        state=line(run.state),
        by=line(run.by),
        since=run.since,
        steps=steps,
        done=sum(one.state in _OVER for one in steps),
        bake=_bake(progress) if progress and is_open else None,
        switched=moved.at if moved and is_open else None,
        reverts_at=moment(values.get("reverts_at")) if is_open else None,
        waits_for=line(question.subject) if question else "",
        waits_since=question.since if question else None,
        waits_in=question.task_id if question else "",
    )


def moment(seconds: object) -> datetime | None:
    """Return a moment that is given in seconds since the epoch; ``None`` for anything else."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _value(run: ActiveRun, task_id: str, key: str) -> Any:
    left = run.left.get((task_id, key))
    return left.value if left else None


def _steps(tasks: Sequence[TaskState]) -> list[Step]:
    """Return the steps in their order, without those that the run leaves out."""
    instances: dict[str, list[TaskState]] = {}
    for task in tasks:
        instances.setdefault(task.task_id, []).append(task)
    never = datetime.max.replace(tzinfo=UTC)

    def place(task_id: str) -> tuple[int, datetime]:
        began = min((one.started for one in instances[task_id] if one.started), default=never)
        return _ORDER.index(task_id) if task_id in _ORDER else len(_ORDER), began

    steps = [_step(task_id, instances[task_id]) for task_id in sorted(instances, key=place)]
    return [one for one in steps if one.state not in ("skipped", "removed")]


def _step(task_id: str, instances: Sequence[TaskState]) -> Step:
    states = [one.state or "to come" for one in instances]
    state = next((one for one in _WORST_FIRST if one in states), states[0])
    if state == "success" and "to come" in states:
        state = "running"
    done = sum(one.state == "success" for one in instances)
    count = f"{done} of {len(instances)}" if len(instances) > 1 else ""
    return Step(line(task_id), line(state).replace("_", " "), count)


def _bake(progress: Left) -> Bake | None:
    if not isinstance(progress.value, Mapping):
        return None
    points = _points(progress.value.get("points"))
    requests, failed = points[-1][1:] if points else (0, 0)
    rates = [
        (later[0], *(max(0, later[index] - earlier[index]) / (later[0] - earlier[0]) for index in (1, 2)))
        for earlier, later in pairwise([(0.0, 0, 0), *points])
        if later[0] > earlier[0]
    ]
    highest = max((max(rate[1:]) for rate in rates), default=0.0)
    return Bake(
        requests=requests,
        failed=failed,
        curve=_line_of([(at, all_) for at, all_, _ in rates], highest),
        errors=_line_of([(at, bad) for at, _, bad in rates], highest),
        ends=moment(progress.value.get("ends")),
        at=progress.at,
    )


def _points(value: object) -> list[tuple[float, int, int]]:
    """Return the points of a curve in the order of their times; whatever is none is left out."""
    found = []
    for one in value[:MOST_POINTS] if isinstance(value, list) else []:
        match one:
            case [int() | float() as at, int() as requests, int() as failed] if (
                0 <= at < 1e6 and 0 <= requests < 1e12 and 0 <= failed < 1e12
            ):
                found.append((float(at), requests, failed))
    return sorted(found)


def _line_of(values: Sequence[tuple[float, float]], highest: float) -> str:
    if len(values) < 2 or not highest:
        return ""
    first, last = values[0][0], values[-1][0]
    return " ".join(
        f"{WIDTH * (at - first) / (last - first):.1f},{HEIGHT - HEIGHT * value / highest:.1f}"
        for at, value in values
    )
