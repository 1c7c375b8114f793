"""The new release through HAProxy, before any client sees it; and how the live one does, to compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bluegreen.analysis import Sample, rate_of, said, series_of
from bluegreen.deadline import Deadline
from bluegreen.errors import BlueGreenError
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import Plan
from bluegreen.sampler import Sampler, Visitor, targets_of

if TYPE_CHECKING:
    from airflow.sdk import Context

# Some 100 samples make a median, in little time. The bake goes on asking the old color.
BASELINE_SECONDS = 1.0
BASELINE_RATE = 100.0
BASELINE_VISITORS = 2

PREVIEW_SECONDS = 10.0
PREVIEW_INTERVAL = 0.2

# Failures of the live release, and no answer that was good: then the path is broken, whoever is deployed.
BROKEN_AFTER = 5


class PreviewCheckOperator(BlueGreenOperator):
    """Ask for every path of ``validation.paths`` by the preview host, through every load balancer.

    A path that is broken in the live release too is a warning: refusing all others would not mend it.

    :param plan: the run's :class:`Plan`; templated.
    :param revision: what must answer; templated.
    """

    template_fields: Sequence[str] = ("plan", "revision")

    def __init__(self, *, plan: Any, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.revision = revision

    def act(self, context: Context) -> dict[str, Any]:
        """Return the baseline: samples of the live color.

        :raises BlueGreenError: if the idle color does not answer as it should.
        """
        plan = Plan.model_validate(self.plan)
        paths = self.app.validation.paths if plan.live else []
        targets = targets_of(paths, plan.fleet.load_balancers)
        # Both at once: each mostly waits.
        with Sampler(targets, rate=BASELINE_RATE, visitors=BASELINE_VISITORS) as live:
            self._check_preview(plan, live)
            if targets:
                time.sleep(max(0.0, live.started + BASELINE_SECONDS - time.monotonic()))
        for series in series_of([], live.samples()):
            before = rate_of(series.before)
            if before.failed:
                self.log.warning(
                    "%s of %s requests to %s failed before the switch already",
                    *(before.failed, before.requests, series.path),
                )
        return {"samples": [asdict(sample) for sample in live.samples()]}

    def _check_preview(self, plan: Plan, live: Sampler) -> None:
        """Ask until all answers are right; HAProxy's own checks may not have noticed the new release yet."""
        host = self.app.traffic.preview_host
        targets = targets_of([*self.app.validation.paths, self.app.health.path], plan.fleet.load_balancers)
        deadline = Deadline()
        with Visitor(host) as visitor:
            while wrong := [sample for target in targets if self._is_wrong(sample := visitor.ask(target))]:
                broken = broken_paths(live.samples())
                if all(sample.revision == self.revision and sample.path in broken for sample in wrong):
                    break
                deadline.check(
                    PREVIEW_SECONDS,
                    BlueGreenError(f"the preview through {host} is not right: {_shown(wrong[0])}"),
                )
                time.sleep(PREVIEW_INTERVAL)
        for sample in wrong:
            self.log.warning("%s; the live release does not answer there either", _shown(sample))
        self.log.info("%s answers with %s", host, self.revision)

    def _is_wrong(self, sample: Sample) -> bool:
        return sample.failed or sample.revision != self.revision


def broken_paths(live: Sequence[Sample]) -> set[str]:
    """Tell which paths the live release does not answer."""
    rates = {series.path: rate_of(series.before) for series in series_of([], live)}
    return {path for path, rate in rates.items() if rate.failed == rate.requests >= BROKEN_AFTER}


def _shown(sample: Sample) -> str:
    whose = f" from revision {sample.revision or 'unknown'}" if sample.status is not None else ""
    return f"{sample.path} through {sample.load_balancer}: {said(sample)}{whose}"
