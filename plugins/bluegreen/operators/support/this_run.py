"""What a run is, and what its tasks have left: read from Airflow once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.bases.xcom import BaseXCom
from pydantic import BaseModel, ValidationError

from bluegreen.errors import BlueGreenError
from bluegreen.operators.support.failures import ERROR_KEY, POLICY_KEY
from bluegreen.release.artifact import BuiltArtifact
from bluegreen.run.one_off import OneOffCommand
from bluegreen.run.plan import Plan
from bluegreen.run.previous import PreviousRelease
from bluegreen.run.processes import ProcessesMove
from bluegreen.run.report import RollbackResult
from bluegreen.traffic.drain import Drain
from bluegreen.traffic.good_answer import one_line
from bluegreen.validation.results import BakeResult

if TYPE_CHECKING:
    from airflow.sdk import Context

# Tasks without which a run changes nothing.
CHANGING = ("lock", "run_command")
DID_NOT_RUN = ("upstream_failed", "skipped", "removed")

# How the keys begin that Airflow and its OpenLineage provider add to a run's configuration.
AIRFLOW_KEYS = ("airflow/", "openlineage")

PLAN_KEY = "plan"
REVISION_KEY = "revision"
# Of a run without a ref, and without an artifact in its place.
NOTHING_TO_DEPLOY = "nothing says what to deploy: give ref or artifact"
PREVIOUS_KEY = "previous"
MIGRATION_KEY = "migration"
COMMAND_KEY = "command"
PROCESSES_KEY = "processes"
# The tasks that move an app's processes and timers: near the beginning of a run, and at its end.
SETTLE_PROCESSES, MOVE_PROCESSES = "settle_processes", "move_processes"

Left = TypeVar("Left", bound=BaseModel)


def left_as(kind: type[Left], xcom: Any) -> Left:
    """Return what another task has left, as its type.

    :raises BlueGreenError: if it has another shape: another version of this project left it, before an
        upgrade in the middle of the run.
    """
    try:
        return kind.model_validate(xcom)
    except ValidationError as error:
        place = ".".join([kind.__name__, *map(str, error.errors()[0]["loc"])])
        raise BlueGreenError(
            f"what this run's tasks have left is not of this version of the project ({place}); it was "
            "upgraded meanwhile, or the result was changed by hand; trigger a new run"
        ) from None


@dataclass(frozen=True)
class Failure:
    """What a failed task instance left.

    :param message: one line for people.
    :param by_policy: whether the app's policy is why.
    """

    message: str
    by_policy: bool


class ThisRun:
    """The run of a task, as Airflow knows it.

    Each question to Airflow is a round trip to its API server. It is asked when the answer is first needed,
    and the answer is kept: a task sees the states and the XComs of the others as they were then.

    :param context: the task's context; passed on to what needs Airflow's own shape of it.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._xcoms: dict[tuple[str, str, int], Any] = {}

    @property
    def dag_id(self) -> str:
        """Airflow's id of the run's DAG."""
        return str(self.context["dag_run"].dag_id)

    @property
    def run_id(self) -> str:
        """Airflow's id of the run, unique in its DAG."""
        return str(self.context["dag_run"].run_id)

    @property
    def holder(self) -> str:
        """The name by which the proxies know this run."""
        return f"{self.dag_id}/{self.run_id}"

    @property
    def triggered_by(self) -> str:
        """The user who triggered the run, or what else did."""
        run = self.context["dag_run"]
        return run.triggering_user_name or str(run.run_type.value)

    @property
    def params(self) -> Mapping[str, Any]:
        """What the run was triggered with, and the defaults of its DAG."""
        return self.context.get("params") or {}

    @property
    def conf(self) -> Mapping[str, Any]:
        """What the run was triggered with."""
        return self.context["dag_run"].conf or {}

    @property
    def task_ids(self) -> list[str]:
        """The tasks of the DAG, in the order of the procedure."""
        return self.context["dag"].task_ids

    @property
    def page(self) -> str:
        """The address of the run in Airflow's UI."""
        return str(self.context["ti"].log_url).partition("/tasks/")[0]

    @property
    def is_dry_run(self) -> bool:
        """Whether this run is to change nothing on any machine."""
        return not {*CHANGING} & {*self.task_ids} or self._is_set("dry_run")

    @property
    def is_emergency(self) -> bool:
        """Whether absolute limits alone judge this run: a bad live release must not veto its replacement."""
        return self._is_set("emergency")

    @property
    def artifact(self) -> str | None:
        """The SHA-256 of the artifact of CI that the run deploys, if it is to deploy one."""
        return self.params["artifact"] if self._is_set("artifact") else None

    def _is_set(self, param: str) -> bool:
        """Whether the run has a parameter that its DAG has, too: Airflow accepts parameters of no DAG."""
        return bool(self.params.get(param)) and param in self.context["dag"].params

    def refuse_unknown_params(self, conf_keys: Collection[str] = ()) -> None:
        """Make sure that the run was triggered with parameters of its DAG only: no other value is checked.

        :param conf_keys: what else the run may have been triggered with.
        :raises BlueGreenError: naming the unknown parameters.
        """
        known = self.context["dag"].params
        allowed = {*known, *conf_keys}
        unknown = [key for key in self.conf if key not in allowed and not key.startswith(AIRFLOW_KEYS)]
        if unknown:
            raise BlueGreenError(
                f"{self.dag_id} has no parameter {one_line(', '.join(unknown))}; it has: "
                f"{', '.join(known) or 'none'} (what the app's file decides for every run has none)"
            )

    @cached_property
    def states(self) -> dict[str, str]:
        """The state of every task instance that has one.

        A mapped task's instances are keyed as Airflow's API does: task id, underscore, map index.
        """
        ti = self.context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        return {task: str(state) for task, state in states.items() if state is not None}

    @cached_property
    def seconds_of_tasks(self) -> dict[str, float]:
        """Seconds that each task instance took which has ended, keyed like :attr:`states`."""
        ti: Any = self.context["ti"]
        return {
            one["task_id"] if one["map_index"] < 0 else f"{one['task_id']}_{one['map_index']}": round(
                one["duration"], 1
            )
            for one in ti.get_task_breadcrumbs(ti.dag_id, ti.run_id)
            if one["duration"] is not None
        }

    def xcom_of(self, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY, map_index: int = -1) -> Any:
        """Return an XCom of another task, or ``None``, whatever became of that task since."""
        wanted = (task_id, key, map_index)
        if task_id not in self.task_ids:
            return None
        if wanted not in self._xcoms:
            ti = self.context["ti"]
            self._xcoms[wanted] = ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)
        return self._xcoms[wanted]

    def xcoms_of(self, task_id: str, key: str) -> list[Any]:
        """Return an XCom of each instance of a mapped task that has one, whatever became of them since.

        It is one question, however many instances there are.
        """
        if task_id not in self.task_ids:
            return []
        ti: Any = self.context["ti"]
        # Without an index Airflow returns the values of all instances, and a value alone by itself.
        found = ti.xcom_pull(task_ids=task_id, key=key)
        return found if isinstance(found, list) else [found]

    def output(self, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY) -> Any:
        """Return an XCom of another task that ran in this attempt of the run, or ``None``.

        Airflow keeps the XComs of a run that was cleared until each task runs again, and it may never do so.
        """
        found = self.xcom_of(task_id, key)
        return None if found is None or self.states.get(task_id) in DID_NOT_RUN else found

    @cached_property
    def plan(self) -> Plan | None:
        """The run's plan, or ``None`` if it did not get that far.

        For tasks that run whatever happened: without a plan, one that takes it as an argument would fail.
        """
        found = self.output("provision_check", PLAN_KEY)
        return left_as(Plan, found) if found else None

    @cached_property
    def drain(self) -> Drain | None:
        """How the color that is deployed to became free, or ``None`` if the run did not get that far."""
        found = self.output("drain")
        return left_as(Drain, found) if found else None

    @cached_property
    def bake(self) -> BakeResult | None:
        """What the bake saw, or ``None`` if none found the release good."""
        found = self.output("final_validation")
        return left_as(BakeResult, found) if found else None

    @cached_property
    def rollback(self) -> RollbackResult | None:
        """How the task ``rollback`` ended, or ``None`` if it did not run to its end."""
        found = self.output("rollback")
        return left_as(RollbackResult, found) if found else None

    @cached_property
    def revision(self) -> str | None:
        """What the run deploys, goes back to or tries dry, as far as it is known."""
        found: str | None = (
            self.output("resolve_ref")
            or self.output("previous_release", REVISION_KEY)
            # A dry run that finds nothing is skipped, so that what follows is.
            or self.xcom_of("check", REVISION_KEY)
        )
        return found

    @cached_property
    def started(self) -> tuple[str, str] | None:
        """The release that the run deploys or goes back to, and its configuration's digest, if known."""
        built, previous = self.output("build"), self.output("previous_release", PREVIOUS_KEY)
        known: BuiltArtifact | PreviousRelease | None = None
        if built:
            known = left_as(BuiltArtifact, built)
        elif previous:
            known = left_as(PreviousRelease, previous)
        return (known.release, known.configuration) if known else None

    @cached_property
    def processes(self) -> ProcessesMove | None:
        """What was done last about the app's processes and timers, or ``None`` if nothing was.

        A task that died may have done anything.
        """
        if self.states.get(MOVE_PROCESSES) in (None, *DID_NOT_RUN):
            found = self.output(SETTLE_PROCESSES, PROCESSES_KEY)
        elif (found := self.xcom_of(MOVE_PROCESSES, PROCESSES_KEY)) is None:
            return ProcessesMove(trouble=f"{MOVE_PROCESSES} ended without a report (killed?), see its log")
        return left_as(ProcessesMove, found) if found else None

    @cached_property
    def command(self) -> OneOffCommand | None:
        """The one-off command that the run ran, or ``None`` if it ran none, or its end is not known."""
        found = self.output("run_command", COMMAND_KEY)
        return left_as(OneOffCommand, found) if found else None

    @cached_property
    def failures(self) -> dict[str, Failure]:
        """The failures of this run's task instances that could report them, keyed like :attr:`states`.

        They are in the order of the procedure, so that the root cause comes first.
        """
        found = {}
        for _, index, task_id, key in sorted(map(self._place, self._failed)):
            if message := self.xcom_of(task_id, ERROR_KEY, index):
                found[key] = Failure(str(message), bool(self.xcom_of(task_id, POLICY_KEY, index)))
        return found

    @property
    def _failed(self) -> list[str]:
        return [key for key, state in self.states.items() if state == "failed"]

    def _place(self, key: str) -> tuple[int, int, str, str]:
        """Return a task instance's place in the procedure, its map index or -1, its task and its key."""
        mapped = re.fullmatch(r"(.+)_(\d+)", key)
        task_id, index = (mapped[1], int(mapped[2])) if mapped and key not in self.task_ids else (key, -1)
        return self.task_ids.index(task_id), index, task_id, key

    def push(self, key: str, value: Any) -> None:
        """Leave an XCom of this task."""
        self.context["ti"].xcom_push(key=key, value=value)
