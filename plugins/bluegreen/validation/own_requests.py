"""Is the new color good enough to keep? The task's own requests, path by path, against the old release.

Each path is judged by itself, so that a broken one is not diluted by five healthy ones. It is compared with
the same path of the old release, both before the switch and now: the old color is still warm, and answers by
the preview host. If the machines, the network or this task become slow, the old release becomes slow, too,
and the new one is not blamed. The worse of the old release's two results is the yardstick.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from statistics import median
from typing import Any

from bluegreen.settings.validation import ValidationSettings
from bluegreen.traffic.good_answer import allowed, is_good
from bluegreen.validation.significance import Rate, surely_worse

# Statuses without content by definition.
WITHOUT_CONTENT = (204, 205, *range(300, 400))

# The failure rate of a broken path: one good answer of ten proves nothing.
BROKEN_RATE = 0.9

# The first request to each worker of the server triggers lazy loading, which worsens p99 for a moment and
# says nothing about the release.
WARM_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Sample:
    """One of the task's own requests through a proxy.

    :param milliseconds: from sending to the last byte.
    :param status: HTTP status, or ``None`` if the answer is missing or incomplete.
    :param revision: the answer's ``X-Revision``.
    :param error: why the answer is missing or incomplete.
    :param lost: whether there was no connection to the proxy, which says nothing about any release.
    :param path: the requested path.
    :param proxy: the requested proxy.
    :param at: seconds since the first request was made.
    :param statuses: statuses of a good answer; 200 to 299 if empty.
    :param size: bytes of the answer's body, if known.
    :param location: the target of a redirect.
    """

    milliseconds: float
    status: int | None
    revision: str | None
    error: str | None = None
    lost: bool = False
    path: str = "/"
    proxy: str = ""
    at: float = 0.0
    statuses: Sequence[int] = ()
    size: int | None = None
    location: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the answer is missing, incomplete or not good."""
        return not is_good(self.status, self.statuses)

    @property
    def is_empty(self) -> bool:
        """Whether an answer lacks the content that its status implies."""
        return self.size == 0 and self.status not in WITHOUT_CONTENT


@dataclass(frozen=True)
class Series:
    """The task's requests to one path: to the new release, and to the old one before the switch and now."""

    path: str
    new: Sequence[Sample]
    before: Sequence[Sample]
    old_now: Sequence[Sample]

    def verdict(self, settings: ValidationSettings) -> str | None:
        """Return which limit the new release breaks, or ``None``."""
        return (
            self.failed_in_a_row(settings)
            or self._too_many_errors(settings)
            or self._too_many_empty(settings)
            or self._slow(settings)
            or self._slow_at_worst(settings)
        )

    def summary(self) -> dict[str, Any]:
        """Return what was seen, as plain data."""
        shown = {"new": self.new, "before": self.before, "old_now": self.old_now}
        return {
            name: {
                "requests": len(samples),
                "failed": rate_of(samples).failed,
                "median_ms": _rounded(median(times)) if (times := _times(samples)) else None,
                "p99_ms": _rounded(p99(times)) if times else None,
            }
            for name, samples in shown.items()
        }

    def failed_in_a_row(self, settings: ValidationSettings) -> str | None:
        """Report too many failures in a row through one proxy, or return ``None``."""
        # A path that failed before may fail several times in a row again; its rate decides.
        if rate_of(self.before).failed:
            return None
        for proxy in sorted({sample.proxy for sample in self.new}):
            asked = [sample for sample in self.new if sample.proxy == proxy]
            for failed, run in groupby(asked, key=lambda sample: sample.failed):
                row = list(run)
                if failed and len(row) >= settings.consecutive_failures:
                    return (
                        f"{len(row)} own requests in a row to {self.path} through {proxy} failed, "
                        f"the last with {described(row[-1])}{self._before_switch()} "
                        f"(allowed are {settings.consecutive_failures - 1})"
                    )
        return None

    def _before_switch(self) -> str:
        return f"; before the switch none of {len(self.before)} did" if self.before else ""

    def _too_many_errors(self, settings: ValidationSettings) -> str | None:
        seen, before, now = rate_of(self.new), rate_of(self.before), rate_of(self.old_now)
        limit = settings.max_error_rate + max(before.value, now.value)
        if seen.requests < settings.min_requests or not surely_worse(seen, before + now, limit):
            return None
        last = [sample for sample in self.new if sample.failed][-1]
        return (
            f"{seen.failed} of {seen.requests} own requests to {self.path} failed ({seen.value:.1%}, the "
            f"last through {last.proxy} with {described(last)}; {self._compared(before, now)}"
            f"allowed are {settings.max_error_rate:.1%}{' more' if self._is_compared else ''})"
        )

    @property
    def _is_compared(self) -> bool:
        return bool(self.before or self.old_now)

    def _compared(self, before: Rate, now: Rate) -> str:
        if not self._is_compared:
            return ""
        return f"the old release before the switch {before.value:.1%}, now {now.value:.1%}; "

    def _too_many_empty(self, settings: ValidationSettings) -> str | None:
        new, before, now = map(empty_rate_of, (self.new, self.before, self.old_now))
        old = before + now
        limit = settings.max_error_rate + max(before.value, now.value)
        if not old.requests or new.requests < settings.min_requests or not surely_worse(new, old, limit):
            return None
        return (
            f"{new.failed} of {new.requests} answers to own requests to {self.path} are empty "
            f"({new.value:.1%}; of the old release's {old.value:.1%}; "
            f"allowed are {settings.max_error_rate:.1%} more)"
        )

    def _slow(self, settings: ValidationSettings) -> str | None:
        new, before, now = map(_times, (self.new, self._alike(self.before), self._alike(self.old_now)))
        if len(new) < settings.min_requests or not before:
            return None
        reference = max(median(before), median(now) if now else 0)
        limit = max(settings.median_floor_ms, settings.max_median_ratio * reference)
        if not surely_worse(_slower(new, limit), _slower(before + now, limit), 0.50):
            return None
        return self._slowness("the median", median(new), reference, limit, len(new))

    def _slow_at_worst(self, settings: ValidationSettings) -> str | None:
        new = _times([sample for sample in self.new if sample.at >= WARM_UP_SECONDS])
        old = _times(self._alike([*self.before, *self.old_now]))
        if len(new) < settings.min_requests or not old:
            return None
        reference = p99(old)
        limit = max(settings.p99_floor_ms, settings.max_p99_ratio * reference)
        if not surely_worse(_slower(new, limit), _slower(old, limit), 0.01):
            return None
        return self._slowness("p99", p99(new), reference, limit, len(new))

    def _alike(self, old: Sequence[Sample]) -> list[Sample]:
        """The old release's answers of the kind that the new one gives, too: a fast 404 is no yardstick."""
        given = {sample.status for sample in self.new}
        return [sample for sample in old if sample.status in given]

    def _slowness(self, what: str, now: float, reference: float, limit: float, requests: int) -> str:
        return (
            f"{what} of {requests} own requests to {self.path} is {now:.0f} ms, of the old release it is "
            f"{reference:.0f} ms (allowed are {limit:.0f} ms)"
        )


def series_of(
    new: Iterable[Sample], before: Iterable[Sample], old_now: Iterable[Sample] = ()
) -> list[Series]:
    """Sort the task's own requests by path; requests that never reached a proxy are left out."""
    sorted_by_path: defaultdict[str, tuple[list[Sample], ...]] = defaultdict(lambda: ([], [], []))
    for place, samples in enumerate((new, before, old_now)):
        for sample in samples:
            if not sample.lost:
                sorted_by_path[sample.path][place].append(sample)
    return [Series(path, *samples) for path, samples in sorted(sorted_by_path.items())]


def wrong_revision(samples: Iterable[Sample], revision: str) -> str | None:
    """Report another revision that answered; the app's own 5xx count, HAProxy's and lost answers do not."""
    for sample in samples:
        if sample.status is not None and sample.status < 500 and sample.revision != revision:
            return (
                f"an answer to {sample.path} through {sample.proxy} (status {sample.status}) came "
                f"from {sample.revision or 'an unknown release'} instead of {revision}"
            )
    return None


def rate_of(samples: Sequence[Sample]) -> Rate:
    """Count the requests that failed."""
    return Rate(len(samples), sum(sample.failed for sample in samples))


def empty_rate_of(samples: Iterable[Sample]) -> Rate:
    """Count the good answers that were empty."""
    good = [sample for sample in samples if not sample.failed]
    return Rate(len(good), sum(sample.is_empty for sample in good))


def is_broken(samples: Sequence[Sample]) -> bool:
    """Whether a path proves nothing, because hardly any answer is good."""
    return bool(samples) and rate_of(samples).value >= BROKEN_RATE


def p99(times: Sequence[float]) -> float:
    """Return the 99th percentile by nearest rank: of up to 100 values, the largest."""
    return sorted(times)[ceil(0.99 * len(times)) - 1]


def described(sample: Sample) -> str:
    """Describe what became of a request."""
    if sample.status is None:
        return f"no whole answer ({sample.error})"
    to = f" to {sample.location}" if sample.location and 300 <= sample.status <= 399 else ""
    wanted = f", allowed are {allowed(sample.statuses)}" if sample.failed and sample.status < 500 else ""
    return f"status {sample.status}{to}{wanted}"


def _slower(times: Sequence[float], limit: float) -> Rate:
    return Rate(len(times), sum(time > limit for time in times))


def _times(samples: Iterable[Sample]) -> list[float]:
    # Error pages are often fast, and would make a bad release look fast.
    return [sample.milliseconds for sample in samples if not sample.failed]


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 1)
