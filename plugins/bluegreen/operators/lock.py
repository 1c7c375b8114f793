"""The lock that keeps two runs of one app apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError, FleetError
from bluegreen.fleet import Droplet
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.operators.states import task_states
from bluegreen.plan import HeldLock

if TYPE_CHECKING:
    from airflow.sdk import Context


ENDED = ("success", "failed", "skipped")


class AcquireLockOperator(BlueGreenOperator):
    """Take the app's lock on every load balancer.

    :param purpose: shown to whoever finds the app locked; templated.
    :param reachable_only: leave out load balancers that cannot be reached, all of them if need be. That is
        for provisioning, which is what makes them reachable; nothing else can be at work there meanwhile,
        because every other run needs them all.
    """

    template_fields: Sequence[str] = ("purpose",)

    def __init__(self, *, purpose: str, reachable_only: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.purpose = purpose
        self.reachable_only = reachable_only

    def act(self, context: Context) -> dict[str, Any]:
        """Return the :class:`HeldLock`.

        :raises LoadBalancerError: if another run holds it; the text names that run.
        """
        self._refuse_a_run_that_has_ended(context)
        load_balancers = self.read_fleet().load_balancers
        if self.reachable_only:
            load_balancers = tuple(one for one in load_balancers if self._reachable(one))
        elif not load_balancers:
            raise FleetError(
                f"{self.app_id} has no load balancer; run bluegreen_provision__{self.app_id} first"
            )
        run = context["dag_run"]
        owner = getattr(run, "triggering_user_name", None) or str(run.run_type)
        hook = LoadBalancersHook(self.app, load_balancers)
        tokens = hook.lock(
            owner=owner,
            run_id=f"{run.dag_id}/{run.run_id}",
            ref=self.purpose,
            is_over=lambda holder: self._is_over(context, holder),
        )
        return HeldLock(load_balancers=load_balancers, tokens=tokens).model_dump(mode="json")

    def _refuse_a_run_that_has_ended(self, context: Context) -> None:
        """Airflow's "clear failed tasks" runs some tasks again, but not those that judge and roll back."""
        states = task_states(context)
        ended = [task for task in self.get_flat_relative_ids() if states.get(task) in ENDED]
        if ended:
            raise BlueGreenError(
                f"this run has ended before ({', '.join(sorted(ended))}) and was cleared in part, so it "
                "changes nothing; trigger a new run"
            )

    @staticmethod
    def _is_over(context: Context, holder: str) -> bool:
        """Whether a run has ended, or was deleted, without giving its lock back."""
        dag_id, _, run_id = holder.partition("/")
        unfinished = context["ti"].get_dr_count(dag_id, run_ids=[run_id], states=["queued", "running"])
        return unfinished == 0

    def _reachable(self, load_balancer: Droplet) -> bool:
        if load_balancer.public is None:
            return False
        try:
            DropletHook.of(load_balancer, self.app).run(["true"])
        except DropletUnreachableError as error:
            self.log.info("not locked, and not in use by anybody: %s", error)
            return False
        return True
