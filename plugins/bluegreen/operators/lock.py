"""The lock that keeps two runs of one app apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import FleetError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import HeldLock

if TYPE_CHECKING:
    from airflow.sdk import Context


class AcquireLockOperator(BlueGreenOperator):
    """Take the app's lock on every load balancer.

    :param purpose: shown to whoever finds the app locked; templated.
    """

    template_fields: Sequence[str] = ("purpose",)

    def __init__(self, *, purpose: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.purpose = purpose

    def act(self, context: Context) -> dict[str, Any]:
        """Return the :class:`HeldLock`.

        :raises LoadBalancerError: if another run holds it; the text names that run.
        """
        load_balancers = self.read_fleet().load_balancers
        if not load_balancers:
            raise FleetError(f"{self.app_id} has no load balancer; run bluegreen_provision__{self.app_id} first")
        run = context["dag_run"]
        owner = getattr(run, "triggering_user_name", None) or str(run.run_type)
        hook = LoadBalancersHook(self.app, load_balancers)
        tokens = hook.lock(owner=owner, run_id=f"{run.dag_id}/{run.run_id}", ref=self.purpose)
        return HeldLock(load_balancers=load_balancers, tokens=tokens).model_dump(mode="json")
