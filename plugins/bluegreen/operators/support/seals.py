"""Sealed statements: what the tasks of a run require of each other, whatever was changed by hand in Airflow.

Whoever may edit XComs or mark tasks in Airflow could otherwise let a run deploy what no policy allowed,
switch by a plan that no check made, or confirm a release that no bake watched.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.sealing import sealing_key
from bluegreen.operators.support.this_run import DID_NOT_RUN, MIGRATION_KEY, left_as
from bluegreen.release.migrations import Migration, Phase
from bluegreen.run.approval_request import demanded_by
from bluegreen.run.seal import opened, sealed
from bluegreen.settings.policy import Demand

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.release.jobs import StartedPairing
    from bluegreen.run.plan import HeldLock, Plan
    from bluegreen.settings.app import App
    from bluegreen.traffic.agent_answers import StartedRelease

SEALED_KEY = "sealed"
ANSWER_KEY = "answer"
DONE_KEY = "done"
# Which task of a DAG finds its revision.
FINDS_REVISION = ("resolve_ref", "previous_release")

# What a statement says instead of a revision where its run has none.
NO_REVISION = ""


class MigrationDone(BaseModel):
    """What a task states of its phase of a migration.

    :param unit: the name of its job.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    migration: Migration
    droplet: Droplet
    unit: str


class Seals:
    """Statements of a run that need no lock.

    :param run: the run; a statement of another one does not count.
    :param app: the app, whose connection ``connections.seal`` the seal is made with.
    """

    def __init__(self, run: ThisRun, app: App) -> None:
        self.run = run
        self._app = app

    @cached_property
    def _key(self) -> bytes:
        return sealing_key(self._app)

    def seal_revision(self, revision: str) -> None:
        """State that this task found the revision, and that it may be used."""
        self._push(SEALED_KEY, {"run": self.run.holder, "revision": revision})

    def require_revision(self, revision: str) -> None:
        """Make sure that a revision is the one that the run's first task has found.

        :raises PolicyError: if it is not: the task's result was changed, or it was marked successful by hand.
        """
        task_id = next(one for one in FINDS_REVISION if one in self.run.task_ids)
        if self._opened(task_id, SEALED_KEY) != {"run": self.run.holder, "revision": revision}:
            raise PolicyError(
                f"{str(revision)[:12]} may not be used: the task {task_id} did not find it and check it "
                "against the settings in policy, so its result or its state was changed by hand; trigger a "
                "new run"
            )

    def approver(self) -> str | None:
        """Return who approved a switch in this run, for its record; ``None`` if nobody did."""
        if self.run.output("approval", ANSWER_KEY) is None:
            return None
        try:
            answer = self._opened("approval", ANSWER_KEY)
        except BlueGreenError:
            return None
        return answer.get("approver") if answer.get("run") == self.run.holder else None

    def seal_finding(self, result: Any) -> None:
        """State what this task has found, in a run that takes no lock."""
        self._push(DONE_KEY, self._about_finding(self.run.context["ti"].task_id, result))

    def require_finding(self, task_id: str, result: Any) -> None:
        """Make sure that a result is what a task of this run has found.

        :raises PolicyError: if it is not.
        """
        if self._opened(task_id, DONE_KEY) != self._about_finding(task_id, result):
            raise PolicyError(
                f"the task {task_id} has not found this, so its result or its state was changed by hand; "
                "trigger a new run"
            )

    def _about_finding(self, task_id: str, result: Any) -> dict[str, Any]:
        return {"run": self.run.holder, "task": task_id, "result": _digest(result)}

    def seal_migration(self, migration: Migration, droplet: Droplet, unit: str) -> None:
        """State what a phase of a migration has run on a droplet, and by which job, for the run's record."""
        about = {"run": self.run.holder, "unit": unit, "droplet": droplet.model_dump(mode="json")}
        self._push(MIGRATION_KEY, {**about, "migration": migration.model_dump(mode="json")})

    def migration(self) -> MigrationDone | None:
        """Return what the run's phase of a migration has run; ``None`` if nothing is known to have run.

        If a task's process dies and the run is marked failed before a retry, Airflow calls the task skipped.
        What it had begun is known nevertheless. What it ran to the end is an earlier attempt's then.
        """
        left = {phase: self.run.xcom_of(phase.value, MIGRATION_KEY) for phase in Phase}
        found = next(((phase, xcom) for phase, xcom in left.items() if xcom), None)
        if found is None:
            return None
        phase, xcom = found
        try:
            statement = opened(self._key, xcom) or {}
        except BlueGreenError:
            return None
        if statement.get("run") != self.run.holder:
            return None
        done = left_as(MigrationDone, statement)
        is_earlier = self.run.states.get(phase.value) in DID_NOT_RUN and done.migration.ran
        return None if is_earlier else done

    def _push(self, key: str, statement: dict[str, Any]) -> None:
        self.run.push(key, sealed(self._key, statement))

    def _opened(self, task_id: str, key: str) -> dict[str, Any]:
        """Return a task's statement; empty without one, or with one that has another seal."""
        return opened(self._key, self.run.output(task_id, key)) or {}


class LockSeals(Seals):
    """Statements that count for one lock only: later another run may have switched.

    :param lock: the run's lock as it is now.
    """

    def __init__(self, run: ThisRun, app: App, lock: HeldLock) -> None:
        super().__init__(run, app)
        self._lock = lock

    def seal_plan(self, revision: str | None, plan: Plan) -> None:
        """State that this task made the plan for a revision."""
        self._seal({**self._about_plan(revision), "plan": _digest_of(plan)})

    def require_plan(self, revision: str | None, plan: Plan | None) -> None:
        """Make sure that a plan is the one that this run's check has made for this revision.

        :raises PolicyError: if it is not.
        """
        self._require("provision_check", {**self._about_plan(revision), "plan": _digest_of(plan)})

    def seal_result(self, revision: str, result: Any) -> None:
        """State that this task has found a revision good, and with which result."""
        self._seal({**self._about(revision), "result": _digest(result)})

    def seal_started(self, revision: str, droplet: str, started: StartedPairing) -> None:
        """State what this instance of a mapped task has started on its droplet."""
        self._seal({**self._about(revision), "droplet": droplet, "started": started.model_dump()})

    def require_started(self, task_id: str, revision: str, wanted: StartedRelease) -> None:
        """Make sure that instances of a mapped task have started this on every one of its droplets.

        A droplet may have the same revision with another configuration, or another command, so its answers to
        requests prove little. The map's order counts for nothing: each statement names its droplet.

        :raises PolicyError: naming the first droplet of which that is not known.
        """
        about = {**self._about(revision), "task": task_id}
        found = [opened(self._key, one) or {} for one in self.run.xcoms_of(task_id, DONE_KEY)]
        known = {
            one.get("droplet"): one.get("started")
            for one in found
            if all(one.get(name) == value for name, value in about.items())
        }
        for droplet, pairing in wanted.pairings.items():
            if (started := known.get(droplet)) is None:
                raise PolicyError(
                    f"{droplet}: nothing proves that the task {task_id} has started {wanted.release} there "
                    "under the lock that the run has now; its instance was marked successful by hand, or its "
                    f"result was changed: clear that instance of {task_id}, or trigger a new run"
                )
            if (started["release"], started["configuration"]) != (wanted.release, wanted.configuration):
                raise PolicyError(
                    f"{droplet}: the task {task_id} has started {started['release']} there with the "
                    f"configuration {started['configuration'][:12]}, instead of {wanted.release} with "
                    f"{wanted.configuration[:12]}; trigger a new run"
                )
            if started["pairing"] != pairing:
                raise PolicyError(
                    f"{droplet}: the task {task_id} has started {wanted.release} there with another unit "
                    "than the settings ask for now: they were changed during the run; trigger a new run"
                )

    def require_done(self, task_id: str, revision: str) -> None:
        """Make sure that a task has found a revision good, whatever state it is in.

        :raises PolicyError: if it has not.
        """
        self._require(task_id, self._about(revision))

    def require_result(self, task_id: str, revision: str, result: Any) -> None:
        """Make sure that a result of a task is the one that it had when it found a revision good.

        :raises PolicyError: if it is not.
        """
        self._require(task_id, {**self._about(revision), "result": _digest(result)})

    def seal_approval(self, revision: str, approver: str, at: datetime) -> None:
        """State who approved the switch to a revision, for the switch and the run's record."""
        self._push(ANSWER_KEY, {"at": at.isoformat(), "approver": approver, **self._about(revision)})

    def require_approval(self, revision: str, *, irreversible: bool) -> str | None:
        """Return who approved the switch; ``None`` if the app's file does not ask for that in this run.

        :param irreversible: whether there is no way back from the release.
        :raises PolicyError: if it does, and nobody has; whatever state the task ``approval`` is in.
        """
        demand = demanded_by(self._app, self.run.params, irreversible=irreversible)
        if demand is None:
            return None
        answer = self._opened("approval", ANSWER_KEY)
        if any(answer.get(name) != value for name, value in self._about(revision).items()):
            raise PolicyError(
                f"nobody has approved this switch, and it needs that ({demand}); the task approval has no "
                "answer of a person, however it came to its state; trigger a new run"
            )
        return str(answer["approver"])

    def _seal(self, about: dict[str, Any]) -> None:
        self._push(DONE_KEY, {**about, "task": self.run.context["ti"].task_id})

    def _require(self, task_id: str, about: dict[str, Any]) -> None:
        statement = self._opened(task_id, DONE_KEY)
        if any(statement.get(name) != value for name, value in {**about, "task": task_id}.items()):
            raise PolicyError(
                f"the task {task_id} has not done this under the lock that the run has now, so its result or "
                "its state was changed by hand; trigger a new run"
            )

    def _about(self, revision: str | None) -> dict[str, Any]:
        return {"run": self.run.holder, "revision": revision, "token": self._lock.fencing_token}

    def _about_plan(self, revision: str | None) -> dict[str, Any]:
        """Describe a plan; a rollback finds its revision by its plan, so its plan is made for none."""
        return self._about(revision if "resolve_ref" in self.run.task_ids else None)


def older_than_live(run: ThisRun, app: App) -> str | None:
    """Return by how much the run's revision was older than what was live, and who forced that, in words."""
    plan = run.plan
    if plan is None or plan.older is None:
        return None
    forced = app.policy.allow_older is Demand.ASKED
    return f"{plan.older}, forced by {run.triggered_by}" if forced else plan.older


def _digest_of(plan: Plan | None) -> str:
    return _digest(plan.model_dump(mode="json") if plan else None)


def _digest(data: Any) -> str:
    """Return the digest of plain data, which is the same after its way through an XCom."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
