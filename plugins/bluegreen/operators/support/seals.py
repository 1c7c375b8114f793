"""What tasks of a run demand of each other: that the policy allowed its revision, and somebody approved."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks.sealing import sealing_key
from bluegreen.run.approval_request import demanded_by
from bluegreen.run.seal import opened, sealed
from bluegreen.settings.policy import Demand

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.run.plan import HeldLock, Plan
    from bluegreen.settings.app import App

SEALED_KEY = "sealed"
ANSWER_KEY = "answer"
DONE_KEY = "done"
# Which task of a DAG finds its revision.
FINDS_REVISION = ("resolve_ref", "previous_release")


def vouch_for(run: ThisRun, app: App, revision: str) -> None:
    """Push what the tasks that follow believe: this task found the revision, and it may be used."""
    statement = {"run": run.holder, "revision": revision}
    run.push(SEALED_KEY, sealed(sealing_key(app), statement))


def demand_vouched(run: ThisRun, app: App, revision: str) -> None:
    """Make sure that a revision is the one that the run's first task has found.

    :raises PolicyError: if it is not: the task's result was changed, or it was marked successful by hand.
    """
    task_id = next(one for one in FINDS_REVISION if one in run.task_ids)
    if opened(sealing_key(app), run.output(task_id, SEALED_KEY)) != {
        "run": run.holder,
        "revision": revision,
    }:
        raise PolicyError(
            f"{str(revision)[:12]} may not be used: the task {task_id} did not find it and check it against "
            "the settings in policy, so its result or its state was changed by hand; trigger a new run"
        )


def record_plan(run: ThisRun, app: App, revision: str | None, lock: HeldLock, plan: Plan) -> None:
    """Push that this task made the plan; it counts for this lock only: later another run may switch."""
    _record(run, app, {**_about_plan(run, revision, lock), "plan": _digest(plan)})


def demand_plan(run: ThisRun, app: App, revision: str | None, lock: HeldLock, plan: Plan) -> None:
    """Make sure that a plan is the one that this run's check has made for this revision under this lock.

    :raises PolicyError: if it is not.
    """
    about = {**_about_plan(run, revision, lock), "plan": _digest(plan)}
    _demand(run, app, "provision_check", about)


def record_done(run: ThisRun, app: App, revision: str, lock: HeldLock) -> None:
    """Push that this task has found the revision good; it counts for this lock only."""
    _record(run, app, _about(run, revision, lock))


def demand_done(run: ThisRun, app: App, task_id: str, revision: str, lock: HeldLock) -> None:
    """Make sure that a task has found a revision good, whatever state it is in.

    :raises PolicyError: if it has not.
    """
    _demand(run, app, task_id, _about(run, revision, lock))


def _record(run: ThisRun, app: App, about: dict[str, Any]) -> None:
    run.push(DONE_KEY, sealed(sealing_key(app), {**about, "task": run.context["ti"].task_id}))


def _demand(run: ThisRun, app: App, task_id: str, about: dict[str, Any]) -> None:
    if opened(sealing_key(app), run.output(task_id, DONE_KEY)) != {**about, "task": task_id}:
        raise PolicyError(
            f"the task {task_id} has not done this under the lock that the run has now, so its result or its "
            "state was changed by hand; trigger a new run"
        )


def record_answer(run: ThisRun, app: App, revision: str, lock: HeldLock, approver: str, at: datetime) -> None:
    """Push who approved what, for the switch and the run's record; it counts for this lock only."""
    statement = {"at": at.isoformat(), "approver": approver, **_about(run, revision, lock)}
    run.push(ANSWER_KEY, sealed(sealing_key(app), statement))


def demand_approval(run: ThisRun, app: App, revision: str, lock: HeldLock) -> str | None:
    """Return who approved the switch; ``None`` if the app's file does not ask for that in this run.

    :raises PolicyError: if it does, and nobody has; whatever state the task ``approval`` is in.
    """
    demand = demanded_by(app, run.params)
    if demand is None:
        return None
    answer = opened(sealing_key(app), run.output("approval", ANSWER_KEY)) or {}
    if any(answer.get(name) != value for name, value in _about(run, revision, lock).items()):
        raise PolicyError(
            f"nobody has approved this switch, and it needs that ({demand}); the task approval has no answer "
            "of a person, however it came to its state; trigger a new run"
        )
    return str(answer["approver"])


def approver_of(run: ThisRun, app: App) -> str | None:
    """Return who approved a switch in this run, for its record; ``None`` if nobody did."""
    found = run.output("approval", ANSWER_KEY)
    if found is None:
        return None
    try:
        answer = opened(sealing_key(app), found) or {}
    except BlueGreenError:
        return None
    return answer.get("approver") if answer.get("run") == run.holder else None


def older_than_live(run: ThisRun, app: App) -> str | None:
    """Return by how much the run's revision was older than what was live, and who forced that, in words."""
    plan = run.plan
    if plan is None or plan.older is None:
        return None
    forced = app.policy.allow_older is Demand.ASKED
    return f"{plan.older}, forced by {run.triggered_by}" if forced else plan.older


def _about_plan(run: ThisRun, revision: str | None, lock: HeldLock) -> dict[str, Any]:
    """Describe a plan; a rollback finds its revision by its plan, so that is not of a revision."""
    return _about(run, revision if "resolve_ref" in run.task_ids else None, lock)


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _about(run: ThisRun, revision: str | None, lock: HeldLock) -> dict[str, Any]:
    return {"run": run.holder, "revision": revision, "token": lock.fencing_token}
