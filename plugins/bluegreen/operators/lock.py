"""The lock that keeps two runs of one app apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import FleetError
from bluegreen.fleet import Droplet
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import HeldLock

if TYPE_CHECKING:
    from airflow.sdk import Context


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
