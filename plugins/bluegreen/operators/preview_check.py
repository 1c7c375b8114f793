"""The new release through HAProxy, before any client sees it; and how the live one does, to compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.preview_key import preview_key
from bluegreen.operators.support.holding_lock import ReleaseOperator
from bluegreen.operators.support.started import require_started
from bluegreen.polling import Deadline
from bluegreen.run.plan import Plan
from bluegreen.traffic.good_answer import advice
from bluegreen.traffic.preview_access import ways_to_look
from bluegreen.validation.evidence import proving_paths
from bluegreen.validation.own_requests import Sample, described, empty_rate_of, is_broken, rate_of, series_of
from bluegreen.validation.results import Baseline
from bluegreen.validation.sampler import KEY_REFUSED, ProbeClient, ProbeOptions, Sampler, Target, targets_of

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
# Some 100 samples make a median, in little time. The bake goes on asking the old color.
BASELINE_SECONDS = 1.0
BASELINE_RATE = 100.0
BASELINE_CLIENTS = 2

PREVIEW_SECONDS = 10.0
PREVIEW_INTERVAL = 0.2

# Answers of the live release that are needed to judge one of its paths.
ENOUGH_ANSWERS = 5


class PreviewCheckOperator(ReleaseOperator):
    """Ask for every path of ``validation.paths`` by the preview host, through every proxy.

    A path that is broken in the live release too proves nothing and is a warning: refusing all releases would
    not fix it. A deploy of which no path proves anything is refused; the health path does not count then.

    :param goes_back: whether the run is a rollback. The release that it goes back to may be older than the
        settings, so a path that it does not know is a warning, even if it is the only one.
    """

    def __init__(self, *, goes_back: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.goes_back = goes_back

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that every idle droplet runs what this run's own tasks have started there.

        :raises PolicyError: if one does not, or if revision or plan were changed.
        """
        super().require_seals(run)
        require_started(run, self.seals(run), self.app, self.revision, self.run_plan)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`~bluegreen.validation.results.Baseline`.

        :raises BlueGreenError: if the idle color does not answer as it should, or no path proves anything.
        """
        plan, key = self.run_plan, preview_key(self.app)
        paths = self.app.validation.paths if plan.live else []
        targets = targets_of(paths, plan.fleet.proxies)
        options = ProbeOptions.of_clients(self.app, key)
        # Both at once: each mostly waits.
        with Sampler(targets, rate=BASELINE_RATE, clients=BASELINE_CLIENTS, options=options) as live:
            seen = self._check_preview(plan, live, ProbeOptions.of_preview(self.app, key))
            if targets:
                time.sleep(max(0.0, live.started + BASELINE_SECONDS - time.monotonic()))
        before = live.samples()
        if not self.goes_back and not run.is_emergency:
            self._require_content(seen, before)
        broken = [series.new for series in series_of(seen, []) if is_broken(series.new)]
        unproven = {samples[-1].path: samples[-1] for samples in broken}
        proving = proving_paths(self.app.validation.paths, unproven, self.app.health.path)
        if not self.goes_back and not proving:
            raise BlueGreenError(self._no_proof(plan, unproven, before))
        if proving == {self.app.health.path}:
            self.log.warning(
                "%s alone is asked (validation.paths), which says little about the app's pages",
                self.app.health.path,
            )
        for path in unproven:
            self.log.warning("%s; no verdict rests on it", self._both(plan, path, unproven, before))
        for series in series_of([], before):
            if (rate := rate_of(series.before)).failed:
                self.log.warning(
                    "%s of %s requests to %s failed before the switch already",
                    *(rate.failed, rate.requests, series.path),
                )
        found = Baseline(samples=tuple(before), unproven=tuple(sorted(unproven)))
        baseline = found.model_dump(mode="json")
        self.seals(run).seal_result(self.revision, baseline)
        return baseline

    def _check_preview(self, plan: Plan, live: Sampler, options: ProbeOptions) -> list[Sample]:
        """Ask until all answers are right; HAProxy's own checks may not have noticed the new release yet.

        Every droplet has its turn, since HAProxy takes them in turn.

        :return: the answers, failures that are excused among them.
        """
        host = self.app.traffic.preview_host
        paths = list(dict.fromkeys([*self.app.validation.paths, self.app.health.path]))
        once = targets_of(paths, plan.fleet.proxies)
        # One after the other: in turns with other paths, a path might always meet the same droplet.
        targets = [target for target in once for _ in range(max(1, len(plan.idle_droplets)))]
        deadline, end = Deadline(), time.monotonic() + PREVIEW_SECONDS
        with ProbeClient(options) as client:
            while wrong := self._wrong(seen := self._round(client, targets, end)):
                if self.goes_back and all(sample.error == KEY_REFUSED for sample in wrong):
                    # The switch asks every server by itself, and going back must not wait for a deploy.
                    self.log.warning("%s; the preview is not looked at", self._shown(wrong[0]))
                    return [sample for sample in seen if sample not in wrong]
                excused = self._excused(wrong, live.samples())
                if all(sample.revision == self.revision and sample.path in excused for sample in wrong):
                    break
                deadline.check(
                    PREVIEW_SECONDS,
                    BlueGreenError(
                        f"the preview through {host} is not right: {self._shown(wrong[0])} "
                        f"(asked {self.app.traffic.asked}){advice(wrong[0].status)}"
                    ),
                )
                time.sleep(PREVIEW_INTERVAL)
        self.log.info("%s answers with %s", host, self.revision)
        for line in ways_to_look(self.app, plan.fleet.proxies):
            self.log.info("to look at it: %s", line)
        return seen

    def _round(self, client: ProbeClient, targets: Sequence[Target], end: float) -> list[Sample]:
        """Ask for everything, or, once time is up, until something is wrong: answers may hang one by one."""
        seen: list[Sample] = []
        for target in targets:
            seen.append(client.ask(target))
            if time.monotonic() > end and self._wrong(seen):
                break
        return seen

    def _wrong(self, seen: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in seen if sample.failed or sample.revision != self.revision]

    def _excused(self, wrong: Sequence[Sample], live: Sequence[Sample]) -> set[str]:
        """Return the paths whose failures are excused: the live release does not answer them either.

        Nor is it a release's fault that it is older than a path. A deploy's droplets have to be healthy.
        """
        excused = broken_paths(live) - {self.app.health.path}
        if self.goes_back:
            crashed = {sample.path for sample in wrong if sample.status is None or sample.status >= 500}
            excused |= {sample.path for sample in wrong} - crashed
        return excused

    def _require_content(self, seen: Sequence[Sample], before: Sequence[Sample]) -> None:
        """Refuse empty pages where the live release has some; an app that lost its content answers so.

        :raises BlueGreenError: with the path.
        """
        for series in series_of(seen, before):
            old = empty_rate_of(series.before)
            empty = next((sample for sample in series.new if not sample.failed and sample.is_empty), None)
            if empty and old.requests >= ENOUGH_ANSWERS and not old.failed:
                raise BlueGreenError(
                    f"the preview through {self.app.traffic.preview_host} is not right: "
                    f"{self._shown(empty)}, and is empty; the live release answers {series.path} with content"
                )

    def _no_proof(self, plan: Plan, unproven: dict[str, Sample], before: Sequence[Sample]) -> str:
        statuses = [sample.status for sample in unproven.values() if sample.status is not None]
        each = "; ".join(self._both(plan, path, unproven, before) for path in unproven)
        return (
            f"the bake could not distinguish a good release from a bad one, so nothing was moved: {each} "
            f"(asked {self.app.traffic.asked}){advice(min(statuses, default=None))}"
        )

    @staticmethod
    def _both(plan: Plan, path: str, unproven: dict[str, Sample], before: Sequence[Sample]) -> str:
        last = next((one for one in reversed(before) if one.path == path and not one.lost), None)
        live = f", the live {plan.live} with {described(last)}" if last else ""
        return f"{path} is answered by {plan.idle} with {described(unproven[path])}{live}"

    def _shown(self, sample: Sample) -> str:
        whose = f" from revision {sample.revision or 'unknown'}" if sample.status is not None else ""
        return f"{sample.path} through {sample.proxy}: {described(sample)}{whose}"


def broken_paths(live: Sequence[Sample]) -> set[str]:
    """Return the paths that the live release does not answer."""
    return {
        series.path
        for series in series_of([], live)
        if len(series.before) >= ENOUGH_ANSWERS and is_broken(series.before)
    }
