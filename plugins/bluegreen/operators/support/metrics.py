"""What is measured of runs, by name; ``docs/operations.md`` says what each figure is for.

All are gauges. A rare event is measured by its time, in seconds since the epoch: a counter that goes from
nothing to one looks to Prometheus like no change at all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bluegreen.checks.finding import Finding, Severity
from bluegreen.checks.processes import health, placement
from bluegreen.checks.run import findings_in
from bluegreen.patterns import APP_ID
from bluegreen.release.processes import MARGIN
from bluegreen.run.approval_request import demanded_by
from bluegreen.run.outcome import UNREPORTED
from bluegreen.settings.migrations import Irreversible

if TYPE_CHECKING:
    from bluegreen.checks.facts import Facts
    from bluegreen.settings.app import App
    from bluegreen.traffic.certificates import KeyedCertificate

Figures = Mapping[str, float]

log = logging.getLogger(__name__)

# For what has no limit of its own: reading droplets, reloading HAProxy, retries.
SPARE_SECONDS = 900

# Figures of a switch, and what the run's record calls them.
_SWITCH = {"requests": "requests", "failed": "failed", "milliseconds": "switch_ms"}


@dataclass(frozen=True)
class Watched:
    """A run whose end is waited for; ``kind`` is deploy, rollback, provision or dry_run."""

    kind: str
    app_id: str

    @classmethod
    def of(cls, dag_id: str) -> Self | None:
        """Recognize it by its DAG; ``None`` for a status, whose end nobody waits for, and for other DAGs."""
        found = re.fullmatch(rf"bluegreen_(deploy|rollback|provision|dry_run)__({APP_ID})", dag_id)
        return cls(found[1], found[2]) if found else None

    def at_start(self, at: float, app: App, conf: Mapping[str, Any]) -> Figures:
        """Say by when the run should be over.

        :param at: when it began.
        :param conf: what it was triggered with.
        """
        return {f"bluegreen.run.due.{self}": round(at + self.longest(app, conf))}

    def at_end(self, at: float, report: Mapping[str, Any] | None) -> Figures:
        """Say that the run is over, and how it ended.

        :param report: its XCom ``report``, or ``None`` if it left none.
        """
        outcome = re.sub(r"[^a-z]+", "_", report["outcome"] if report else UNREPORTED)
        record = (report or {}).get("record", {})
        return {
            f"bluegreen.run.due.{self}": 0,
            f"bluegreen.run.ended.{self}.{outcome}": round(at),
            **{
                f"bluegreen.switch.{name}.{self.app_id}": record[key]
                for name, key in _SWITCH.items()
                if key in record
            },
        }

    def longest(self, app: App, conf: Mapping[str, Any]) -> float:
        """Seconds that the run may take: all limits of its steps together."""
        limits, validation = app.timeouts, app.validation
        if self.kind == "dry_run":
            return SPARE_SECONDS
        if self.kind == "provision":
            return SPARE_SECONDS + limits.lock_wait + limits.boot * 3
        if conf.get("bake"):
            validation = validation.with_bake(conf["bake"])
        seconds = SPARE_SECONDS + limits.lock_wait + limits.drain + limits.build
        seconds += validation.seconds_to_confirm
        # At the beginning and at the end.
        stops = [one.stop_timeout for one in app.processes.values()]
        stops += [one.stop_timeout for one in app.timers.values()]
        seconds += 2 * (max(stops) + MARGIN) if stops else 0
        if self.kind == "deploy":
            may_be_irreversible = app.migrations.irreversible is Irreversible.ALLOW
            asks = demanded_by(app, conf, irreversible=may_be_irreversible)
            seconds += limits.approval if asks else 0
            hooks = (hook for moment in app.hooks for hook in moment[1])
            seconds += app.health.timeout * 2 + sum(hook.timeout for hook in hooks)
        return seconds

    def __str__(self) -> str:
        """Return it as part of a name."""
        return f"{self.kind}.{self.app_id}"


def locked(app_id: str, since: float) -> Figures:
    """Say since when the app's proxies are locked; 0 if they are not."""
    return {f"bluegreen.lock.since.{app_id}": round(since)}


def lock_in(facts: Facts) -> Figures:
    """Say since when the proxies are locked, as they say themselves; nothing if they cannot be asked.

    That corrects what a run that died, or a message that was lost, left wrong.
    """
    locks = [status.lock.since for status in facts.readable.values() if status.lock]
    if not locks and len(facts.readable) < len(facts.fleet.proxies):
        return {}
    return locked(facts.app.id, since=min(locks, default=0))


def findings_of(app_id: str, findings: Iterable[Finding]) -> Figures:
    """Say how much a dry run found."""
    severities = [one.severity for one in findings]
    return {f"bluegreen.dry_run.{one}s.{app_id}": severities.count(one) for one in Severity}


def processes_in(facts: Facts) -> Figures:
    """Say whether the app's processes and timers run as they should, if it has any and that is known."""
    if not facts.app.has_processes or not facts.is_live_known:
        return {}
    return processes(facts.app.id, well=not findings_in(facts, (placement, health)))


def processes(app_id: str, *, well: bool) -> Figures:
    """Say whether the app's processes and timers run as they should."""
    return {f"bluegreen.processes.unsettled.{app_id}": int(not well)}


def certificates(app_id: str, there: Mapping[str, KeyedCertificate]) -> Figures:
    """Say when each certificate that Airflow delivers ends, and from when on its renewal is late."""
    figures = {}
    for name, one in there.items():
        label = f"{app_id}.{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
        figures[f"bluegreen.certificate.ends.{label}"] = round(one.ends.timestamp())
        figures[f"bluegreen.certificate.late.{label}"] = round(one.late_from.timestamp())
    return figures


def emit(figures: Figures) -> None:
    """Send figures from a task, which goes on whatever comes of it."""
    from airflow.sdk.observability import stats

    send(figures, stats.gauge)


def send(figures: Figures, gauge: Callable[[str, float], None]) -> None:
    """Send figures to a gauge of Airflow's; a failure is a warning in the log."""
    try:
        for name, value in figures.items():
            gauge(name, value)
    except Exception as error:  # anything that a backend, its library or its settings may do
        log.warning("figures were not sent: %s: %s", type(error).__name__, error)
