"""What the tasks share that come after the lock is taken.

Before such a task does anything, it requires the seals of whatever it was given by other tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.base import BlueGreenOperator, TaskOfApp
from bluegreen.operators.support.seals import LockSeals
from bluegreen.operators.support.this_run import left_as
from bluegreen.run.plan import HeldLock, Plan

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class HoldsLock(TaskOfApp):
    """A task of a run that holds the app's lock; also a sensor, or an operator of Airflow's own.

    :ivar lock: the run's :class:`HeldLock`; templated.
    """

    lock: Any
    _seals: LockSeals | None = None

    @property
    def held_lock(self) -> HeldLock:
        """What this run has locked."""
        return left_as(HeldLock, self.lock)

    def proxies(self) -> ProxiesHook:
        """Return the proxies that this run has locked."""
        return ProxiesHook.holding(self.app, self.held_lock)

    def seals(self, run: ThisRun) -> LockSeals:
        """Return the statements of the run's tasks under this lock."""
        if self._seals is None or self._seals.run is not run:
            self._seals = LockSeals(run, self.app, self.held_lock)
        return self._seals


class LockedOperator(HoldsLock, BlueGreenOperator):
    """A task of a run that holds the app's lock.

    :param lock: the run's :class:`HeldLock`; templated.
    """

    template_fields: Sequence[str] = ("lock",)

    def __init__(self, *, lock: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lock = lock


class PlannedOperator(LockedOperator):
    """A task of a run that also has its plan.

    :param plan: the run's :class:`Plan`; templated.
    """

    template_fields: Sequence[str] = ("lock", "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    @property
    def run_plan(self) -> Plan:
        """Who is live, who is idle, and which droplets there are."""
        return left_as(Plan, self.plan)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that the plan is the one that this run's check has made.

        :raises PolicyError: if it is not.
        """
        self.seals(run).require_plan(run.output("resolve_ref"), self.run_plan)


class ReleaseOperator(PlannedOperator):
    """A task of a run that also has its revision.

    :param revision: what is deployed, or gone back to; templated.
    """

    template_fields: Sequence[str] = (*PlannedOperator.template_fields, "revision")

    def __init__(self, *, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.revision = revision

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that revision and plan are what this run's own tasks have found.

        :raises PolicyError: if they are not.
        """
        self.seals(run).require_revision(self.revision)
        self.seals(run).require_plan(self.revision, self.run_plan)
