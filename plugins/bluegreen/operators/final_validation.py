"""The bake: watching the new color under real traffic before the switch is confirmed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.preview_key import preview_key
from bluegreen.operators.support.bake_progress import BakeProgress
from bluegreen.operators.support.holding_lock import ReleaseOperator
from bluegreen.run.plan import Plan
from bluegreen.settings.validation import OWN_REQUESTS_PER_SECOND
from bluegreen.traffic.agent_answers import Counters, ProxyStatus, SwitchResult
from bluegreen.validation.background import BackgroundReader, TimedValue
from bluegreen.validation.client_requests import ClientRequests, Snapshot
from bluegreen.validation.evidence import ClientRequestCounter, Evidence, proving_paths
from bluegreen.validation.own_requests import (
    Series,
    described,
    is_broken,
    rate_of,
    series_of,
    wrong_revision,
)
from bluegreen.validation.results import BakeResult, Baseline
from bluegreen.validation.sampler import ProbeOptions, Sampler, Target, targets_of

if TYPE_CHECKING:
    from bluegreen.color import Color
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.settings.validation import ValidationSettings

# How often our own requests are judged, and how long HAProxy's counters are left alone between two readings.
LOOK_SECONDS = 0.2
READING_PAUSE = 0.6

# The last reading of the counters is not older than this when the bake ends.
FRESH_SECONDS = 1.5

# How long the counters may be unreadable: a lost SSH connection says nothing about the release.
UNREADABLE_SECONDS = 10.0

# Four at a time, so that requests that take 80 ms can still be made at the full rate.
PROBE_CLIENTS = 4

# Requests a second to the health path through each proxy. HAProxy itself would take 17 s to notice
# that it hangs: three checks that wait for 5 s each.
HEALTH_RATE = 4.0


class FinalValidationOperator(ReleaseOperator):
    """Watch the new color until the bake is over or a limit is broken, whichever comes first.

    :param switched: the answers of :class:`SwitchTrafficOperator`; templated.
    :param baseline: the result of :class:`PreviewCheckOperator`; templated.
    :param goes_back: whether the run is a rollback. A bad release may be quicker than any good one, since
        pages that are empty or missing are, so times are not compared; and the way back needs no proof.
    """

    template_fields: Sequence[str] = (*ReleaseOperator.template_fields, "switched", "baseline")

    def __init__(self, *, switched: Any, baseline: Any, goes_back: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.goes_back = goes_back
        self.switched = switched
        self.baseline = baseline

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that the new color is judged by what this run's own tasks have measured.

        :raises PolicyError: if it is not.
        """
        super().require_seals(run)
        self.seals(run).require_result("preview_check", self.revision, self.baseline)
        self.seals(run).require_result("switch_traffic", self.revision, self.switched)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`~bluegreen.validation.results.BakeResult`.

        :raises BlueGreenError: with the first limit that was broken.
        """
        plan, settings = self.run_plan, self._settings(run)
        # An emergency deploy replaces a release that is not to be compared with: like the first one.
        live = None if run.is_emergency else plan.live
        hook, key = self.proxies(), preview_key(self.app)
        before = self._baseline.samples if live else ()
        targets = targets_of(settings.paths, plan.fleet.proxies)
        traffic = self._traffic(plan, live)
        clients, progress = ClientRequestCounter(), BakeProgress(run, settings.bake)

        def read() -> dict[str, ProxyStatus]:
            hook.renew_in_time()
            return hook.statuses()

        start = read_at = time.monotonic()
        trouble: BlueGreenError | None = None
        with (
            self._sampler(targets, ProbeOptions.of_clients(self.app, key)) as new,
            self._sampler(targets if live else [], ProbeOptions.of_preview(self.app, key)) as old,
            self._health_sampler(plan, settings, key) as health,
            BackgroundReader(read, READING_PAUSE) as readings,
            progress.left_in_time(),
        ):
            while time.monotonic() < start + settings.bake or time.monotonic() > read_at + FRESH_SECONDS:
                time.sleep(LOOK_SECONDS)
                reading = readings.take()
                if isinstance(reading, TimedValue):
                    read_at, trouble = reading.at, None
                    self._stop_at(self._verdicts_on_traffic(reading.value, plan.idle, traffic, settings))
                    clients.count(traffic.values(), [*new.samples(), *health.samples()])
                    progress.note(reading.value.values(), traffic.values())
                else:
                    trouble = reading or trouble
                    self._be_patient(reading, trouble, time.monotonic() - read_at)
                self._judge(series_of(new.samples(), before, old.samples()), settings)
                self._stop_at(one.failed_in_a_row(settings) for one in series_of(health.samples(), []))
                self._stop_at([wrong_revision(new.samples(), self.revision)])
            health.stop()
            series = series_of(new.finish(), before, old.samples())
            healthy = series_of(health.finish(), [])
        self._judge(series, settings)
        self._stop_at(one.failed_in_a_row(settings) for one in healthy)
        self._stop_at([wrong_revision(new.samples(), self.revision)])
        proving = self._require_proof(series, settings)
        seen = BakeResult(
            bake_seconds=round(time.monotonic() - start, 1),
            own_requests={one.path: one.summary() for one in series},
            all_requests={name: one.summary() for name, one in traffic.items()},
            rests_on=self._rests_on(series, proving, clients, settings),
        ).model_dump(mode="json")
        self.log.info("the bake is over, no limit broken: %s", seen)
        self.seals(run).seal_result(self.revision, seen)
        return seen

    def _rests_on(
        self,
        series: Sequence[Series],
        proving: Sequence[Series],
        clients: ClientRequestCounter,
        settings: ValidationSettings,
    ) -> Evidence:
        return Evidence(
            own_requests=sum(len(one.new) for one in proving),
            paths=len(proving),
            unproven=tuple(one.path for one in series if one not in proving),
            client_requests=clients.total,
            few_clients=clients.total < settings.min_requests,
            health_only=[one.path for one in proving] == [self.app.health.path],
        )

    def _sampler(self, targets: Sequence[Target], options: ProbeOptions) -> Sampler:
        return Sampler(targets, rate=OWN_REQUESTS_PER_SECOND, clients=PROBE_CLIENTS, options=options)

    def _health_sampler(self, plan: Plan, settings: ValidationSettings, key: str) -> Sampler:
        """Ask for the health path, unless it is judged with the others: who does not answer it goes down."""
        proxies, path = plan.fleet.proxies, self.app.health.path
        paths = [] if path in settings.paths or self.goes_back else [path]
        return Sampler(
            targets_of(paths, proxies),
            rate=HEALTH_RATE * len(proxies),
            clients=PROBE_CLIENTS * len(proxies),
            options=ProbeOptions.of_clients(self.app, key),
        )

    def _settings(self, run: ThisRun) -> ValidationSettings:
        settings = self.validation(run)
        return settings.without_latency_limits() if self.goes_back else settings

    @property
    def _baseline(self) -> Baseline:
        return Baseline.model_validate(self.baseline)

    @property
    def _unproven(self) -> set[str]:
        """Paths that the new release did not answer well in the preview already; they are not judged."""
        return set(self._baseline.unproven)

    def _judge(self, series: Iterable[Series], settings: ValidationSettings) -> None:
        self._stop_at(one.verdict(settings) for one in series if one.path not in self._unproven)

    def _require_proof(self, series: Sequence[Series], settings: ValidationSettings) -> list[Series]:
        """Return the paths that a verdict rests on.

        :raises BlueGreenError: if a path was not asked, or proves nothing that the preview had promised. The
            old release does not excuse that here: then nothing distinguishes a good release from a bad one.
        """
        if unasked := set(settings.paths) - {one.path for one in series if one.new}:
            raise BlueGreenError(
                f"no own request to {', '.join(sorted(unasked))} came through in the whole bake; "
                "look at the way from here to port 80 of the proxies"
            )
        may_prove = proving_paths(settings.paths, self._unproven, self.app.health.path)
        proving = [one for one in series if one.path in may_prove and not is_broken(one.new)]
        if not self.goes_back:
            self._stop_at(
                self._proves_nothing(one, settings) for one in series if one.path not in self._unproven
            )
            if not proving:
                raise BlueGreenError("no own request of the whole bake proves anything about the new release")
        return proving

    @staticmethod
    def _proves_nothing(series: Series, settings: ValidationSettings) -> str | None:
        if is_broken(series.new):
            failed = rate_of(series.new)
            return (
                f"{failed.failed} of {failed.requests} own requests to {series.path} failed, the last with "
                f"{described(series.new[-1])}; in the preview it answered"
            )
        if len(series.new) < settings.min_requests:
            # Requests that hang, or are slow, leave room for few. Where the difference is large, few are
            # enough.
            return series.verdict(settings.model_copy(update={"min_requests": 1}))
        return None

    def _traffic(self, plan: Plan, live: Color | None) -> dict[str, ClientRequests]:
        """Return the counters of each proxy before the switch, by its name.

        :param live: the color to compare with, if any.
        """
        traffic = {}
        for name, answer in self.switched.items():
            switch = SwitchResult.parse(answer)
            at_switch = Snapshot(
                switch.counters.get(plan.idle, Counters()), switch.answer_times.get(plan.idle, 0)
            )
            before, answer_time = Counters(), 0
            if live is not None:
                before = switch.counters.get(live, Counters()) - plan.counters.get(name, Counters())
                answer_time = switch.answer_times.get(live, 0)
            traffic[name] = ClientRequests(name, at_switch, before, answer_time)
        return traffic

    def _verdicts_on_traffic(
        self,
        statuses: dict[str, ProxyStatus],
        color: Color,
        traffic: dict[str, ClientRequests],
        settings: ValidationSettings,
    ) -> Iterator[str | None]:
        for name, status in statuses.items():
            if status.live is not color:
                raise BlueGreenError(f"{name} no longer sends traffic to {color} but to {status.live}")
            look = Snapshot(status.counters[color], status.answer_times.get(color, 0))
            yield traffic[name].verdict(look, settings)

    def _be_patient(self, error: BlueGreenError | None, last: BlueGreenError | None, seconds: float) -> None:
        """Go on without HAProxy's counters for a while; our own requests are judged meanwhile.

        :raises BlueGreenError: if an error is not a matter of time, or there was no reading for too long.
        """
        if error is not None:
            if not error.transient:
                raise error
            self.log.warning("%s; looking again", error)
        if seconds > UNREADABLE_SECONDS:
            reason = last or "the proxies do not say what they count"
            raise BlueGreenError(f"{reason} (waited {UNREADABLE_SECONDS:g} s)")

    @staticmethod
    def _stop_at(verdicts: Iterable[str | None]) -> None:
        for verdict in verdicts:
            if verdict:
                raise BlueGreenError(f"the new release is bad: {verdict}")
