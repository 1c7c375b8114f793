"""What the tasks share that come after the lock is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.run.plan import HeldLock, Plan


class LockedOperator(BlueGreenOperator):
    """A task of a run that holds the app's lock.

    :param lock: the run's :class:`HeldLock`; templated.
    """

    template_fields: Sequence[str] = ("lock",)

    def __init__(self, *, lock: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lock = lock

    @property
    def held_lock(self) -> HeldLock:
        """What this run has locked."""
        return HeldLock.model_validate(self.lock)

    def proxies(self) -> ProxiesHook:
        """Return the proxies that this run has locked."""
        return ProxiesHook.holding(self.app, self.held_lock)


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
        return Plan.model_validate(self.plan)
