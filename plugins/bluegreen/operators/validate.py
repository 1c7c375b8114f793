"""The bake: watching the new color under real traffic before the switch is confirmed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.analysis import Limits, Rate, Sample, p99, rate_of, too_many_errors, too_slow, wrong_revision
from bluegreen.deadline import Deadline
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import HeldLock, Plan
from bluegreen.sampler import Sampler
from bluegreen.traffic import Counters, SwitchResult

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color

# One look takes a second of samples and one reading of HAProxy's counters.
LOOK_SECONDS = 1.0
SAMPLE_INTERVAL = 0.02

# How long the counters may be unreadable: a lost SSH connection says nothing about the release.
UNREADABLE_SECONDS = 10.0


class FinalValidationOperator(BlueGreenOperator):
    """Watch the new color until the bake is over or a limit is broken, whichever comes first.

    :param lock: the run's :class:`HeldLock`; templated.
    :param plan: the run's :class:`Plan`; templated.
    :param revision: what every answer must come from; templated.
    :param switched: the answers of :class:`SwitchTrafficOperator`; templated.
    :param baseline: the result of :class:`PreviewCheckOperator`; templated.
    """

    template_fields: Sequence[str] = ("lock", "plan", "revision", "switched", "baseline")

    def __init__(
        self, *, lock: Any, plan: Any, revision: Any, switched: Any, baseline: Any, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.lock = lock
        self.plan = plan
        self.revision = revision
        self.switched = switched
        self.baseline = baseline

    def act(self, context: Context) -> dict[str, Any]:
        """Return what was seen.

        :raises BlueGreenError: with the first limit that was broken.
        """
        plan = Plan.model_validate(self.plan)
        hook = LoadBalancersHook.holding(self.app, HeldLock.model_validate(self.lock))
        addresses = [str(droplet.public) for droplet in plan.fleet.load_balancers]
        samples: list[Sample] = []
        counters, unreadable = Counters(), Deadline()
        start = time.monotonic()
        with Sampler(addresses, self.app.validation.paths) as sampler:
            while True:
                hook.renew_in_time()
                samples += sampler.rounds(LOOK_SECONDS, SAMPLE_INTERVAL)
                try:
                    counters, unreadable = self._since_switch(hook, plan.idle), Deadline()
                except BlueGreenError as error:
                    if not error.transient:
                        raise
                    self.log.warning("%s; looking again", error)
                    unreadable.check(UNREADABLE_SECONDS, error)
                if broken := self._broken_limit(plan, samples, counters):
                    raise BlueGreenError(f"the new release is bad: {broken}")
                if time.monotonic() - start >= self.app.validation.bake:
                    break
        seen = {
            "bake_seconds": round(time.monotonic() - start, 1),
            "samples": len(samples),
            "p99_milliseconds": p99(samples),
            "clients": {"requests": counters.requests, "failed": counters.responses_5xx},
            "connection_errors": counters.connection_errors,
            "retries": counters.retries,
            "redispatches": counters.redispatches,
        }
        self.log.info("the bake is over, no limit broken: %s", seen)
        return seen

    def _since_switch(self, hook: LoadBalancersHook, color: Color) -> Counters:
        """Sum HAProxy's counters of the new color since the switch, over all load balancers."""
        at_switch = self._counters_at_switch()
        total = Counters()
        for name, status in hook.statuses().items():
            if status.live is not color:
                raise BlueGreenError(f"{name} no longer sends traffic to {color} but to {status.live}")
            total += status.counters[color] - at_switch[name].get(color, Counters())
        return total

    def _counters_at_switch(self) -> dict[str, dict[Color, Counters]]:
        return {name: SwitchResult.parse(result).counters for name, result in self.switched.items()}

    def _broken_limit(self, plan: Plan, samples: list[Sample], counters: Counters) -> str | None:
        settings = self.app.validation
        limits = Limits(settings.min_requests, settings.max_error_rate, settings.max_p99_ratio)
        before = [Sample(**sample) for sample in self.baseline["samples"]]
        clients = Rate(counters.requests, counters.responses_5xx)
        return (
            wrong_revision(samples, self.revision)
            or too_many_errors("of our own requests", rate_of(samples), rate_of(before), limits)
            or too_many_errors("requests of clients", clients, self._clients_before(plan.live), limits)
            or too_slow(samples, before, limits)
        )

    def _clients_before(self, live: Color | None) -> Rate:
        """Real traffic on the old color between the preview check and the switch."""
        requests = failed = 0
        if live is not None:
            for name, counters in self._counters_at_switch().items():
                since = counters[live] - Counters.parse(self.baseline["counters"][name])
                requests += since.requests
                failed += since.responses_5xx
        return Rate(requests, failed)
