"""The new release through HAProxy, before any client sees it; and how the live one does, to compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bluegreen.analysis import Sample
from bluegreen.deadline import Deadline
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import Plan
from bluegreen.sampler import Sampler

if TYPE_CHECKING:
    from airflow.sdk import Context

# Some 60 samples with one load balancer: enough for a p99, short enough for a quick deploy.
BASELINE_SECONDS = 0.6
BASELINE_INTERVAL = 0.005

PREVIEW_SECONDS = 10.0
PREVIEW_INTERVAL = 0.2


class PreviewCheckOperator(BlueGreenOperator):
    """Ask for every path of ``validation.paths`` by the preview host, through every load balancer.

    :param plan: the run's :class:`Plan`; templated.
    :param revision: what must answer; templated.
    """

    template_fields: Sequence[str] = ("plan", "revision")

    def __init__(self, *, plan: Any, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.revision = revision

    def act(self, context: Context) -> dict[str, Any]:
        """Return the baseline: samples and counters of the live color.

        :raises BlueGreenError: if the idle color does not answer as it should.
        """
        plan = Plan.model_validate(self.plan)
        addresses = [str(droplet.public) for droplet in plan.fleet.load_balancers]
        self._check_preview(addresses)
        if plan.live is None:
            return {"samples": [], "counters": {}}
        with Sampler(addresses, self.app.validation.paths) as sampler:
            samples = sampler.rounds(BASELINE_SECONDS, BASELINE_INTERVAL)
        return {"samples": [asdict(sample) for sample in samples], "counters": self._counters(plan)}

    def _check_preview(self, addresses: list[str]) -> None:
        """Ask until all answers are right; HAProxy's own checks may not have noticed the new release yet."""
        host = self.app.traffic.preview_host
        paths = [*self.app.validation.paths, self.app.health.path]
        deadline = Deadline()
        with Sampler(addresses, paths, host=host) as sampler:
            while wrong := self._first_wrong(sampler.round()):
                deadline.check(
                    PREVIEW_SECONDS,
                    BlueGreenError(f"the preview through {host} is not right: {_shown(wrong)}"),
                )
                time.sleep(PREVIEW_INTERVAL)
        self.log.info("%s answers with %s", host, self.revision)

    def _first_wrong(self, samples: list[Sample]) -> Sample | None:
        return next((one for one in samples if one.failed or one.revision != self.revision), None)

    def _counters(self, plan: Plan) -> dict[str, Any]:
        """HAProxy's counters of the live color, by load balancer."""
        statuses = LoadBalancersHook(self.app, plan.fleet.load_balancers).statuses()
        return {
            name: status.counters[plan.live].model_dump()
            for name, status in statuses.items()
            if plan.live is not None
        }


def _shown(sample: Sample) -> str:
    if sample.status is None:
        return f"no answer ({sample.error})"
    return f"status {sample.status} from revision {sample.revision or 'unknown'}"
