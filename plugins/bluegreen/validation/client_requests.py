"""Is the new color good enough to keep? HAProxy's counters of all requests, including those of clients.

The task's own requests know a few paths; clients use all of them, with cookies, bodies and bad luck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bluegreen.settings.validation import ValidationSettings
from bluegreen.traffic.agent_answers import Counters
from bluegreen.validation.significance import Rate, surely_worse

# HAProxy's answer times are sliding averages of this many requests, and sums of three rounded-up values.
WINDOW = 1024
ROUNDING_MILLISECONDS = 3

# The fewest requests to take an average of: rounding weighs too much in fewer. A slow average may be a single
# request that waits for half a minute by design, so several averages in a row have to be slow.
SLICE_REQUESTS = 250
SLOW_SLICES = 3


@dataclass(frozen=True)
class Snapshot:
    """A proxy's figures of a color at one moment.

    :param counters: totals since its last reload.
    :param answer_time: average of the last :data:`WINDOW` requests in milliseconds; 0 if there were none.
    """

    counters: Counters
    answer_time: int


@dataclass(frozen=True)
class AnswerTime:
    """An average in milliseconds, and the ``least`` that it can be, because HAProxy rounds up."""

    average: float
    least: float


class ClientRequests:
    """All requests through one proxy to the new color since the switch.

    :param proxy: its name.
    :param at_switch: the new color at the moment of the switch.
    :param before: the old color's counters from the start of the run to the switch.
    :param answer_time_before: the old color's answer time at the switch, in milliseconds; 0 if unknown.
    """

    def __init__(self, proxy: str, at_switch: Snapshot, before: Counters, answer_time_before: int) -> None:
        self.proxy = proxy
        self.since_switch = Counters()
        self._before = before
        self._answer_time_before = answer_time_before
        self._at_switch = self._slice_start = self._last = at_switch
        self._slices: list[AnswerTime] = []

    def verdict(self, look: Snapshot, settings: ValidationSettings) -> str | None:
        """Add a look; return which limit the new release breaks, or ``None``."""
        self.since_switch = look.counters - self._at_switch.counters
        self._last = look
        self._cut_slice(look)
        return (
            self._too_many("were answered with 5xx", _failed, settings.max_error_rate, settings)
            or self._too_many("took more than one attempt", _retried, settings.max_retry_rate, settings)
            or self._slow(settings)
        )

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            name: {
                "requests": counters.requests,
                "failed": _failed(counters).failed,
                "retried": _retried(counters).failed,
                "answer_time_ms": round(time),
            }
            for name, counters, time in (
                ("new", self.since_switch, average_between(self._at_switch, self._last).average),
                ("before", self._before, self._answer_time_before),
            )
        }

    def _too_many(
        self, what: str, rate_of: Callable[[Counters], Rate], allowed: float, settings: ValidationSettings
    ) -> str | None:
        seen, before = rate_of(self.since_switch), rate_of(self._before)
        if seen.requests < settings.min_requests or not surely_worse(seen, before, before.value + allowed):
            return None
        return (
            f"{seen.failed} of {seen.requests} requests through {self.proxy} {what} "
            f"({seen.value:.1%}; before the switch {before.value:.1%} of {before.requests}, "
            f"allowed are {allowed:.1%} more)"
        )

    def _slow(self, settings: ValidationSettings) -> str | None:
        if _failed(self._before).value > settings.max_error_rate:
            # HAProxy's average includes error pages, which are often fast.
            return None
        limit = max(settings.median_floor_ms, settings.max_median_ratio * self._answer_time_before)
        last = self._slices[-SLOW_SLICES:]
        if not self._answer_time_before or len(last) < SLOW_SLICES or min(one.least for one in last) <= limit:
            return None
        return (
            f"requests through {self.proxy} are answered after {last[-1].average:.0f} ms on average, "
            f"before the switch it was {self._answer_time_before} ms (allowed are {limit:.0f} ms)"
        )

    def _cut_slice(self, look: Snapshot) -> None:
        start = self._slice_start
        if look.counters.requests < start.counters.requests:
            start = self._slice_start = Snapshot(Counters(), 0)
        if look.counters.requests - start.counters.requests >= SLICE_REQUESTS:
            self._slices.append(average_between(start, look))
            self._slice_start = look


def average_between(earlier: Snapshot, later: Snapshot) -> AnswerTime:
    """Return the average answer time of the requests between two looks.

    HAProxy's average covers the last 1024 requests (``rtime`` in its management guide): after 100 requests
    nine tenths of it are still older requests, of a release that was perhaps live a week ago. The share of
    the old part is known, so it can be subtracted.
    """
    first, last = earlier.counters.requests, later.counters.requests
    if last <= first:
        return AnswerTime(later.answer_time, 0)
    # Exact up to the window's size, exponential beyond it.
    kept = min(first, WINDOW) / min(last, WINDOW)
    kept *= (1 - 1 / WINDOW) ** (max(last, WINDOW) - max(first, WINDOW))
    average = max(0.0, (later.answer_time - kept * earlier.answer_time) / (1 - kept))
    return AnswerTime(average, average - ROUNDING_MILLISECONDS / (1 - kept))


def _failed(counters: Counters) -> Rate:
    return Rate(counters.requests, min(counters.requests, counters.responses_5xx))


def _retried(counters: Counters) -> Rate:
    """Count failed attempts to reach a server, even if the next one succeeded; a request may have several."""
    attempts = counters.retries + counters.redispatches + counters.connection_errors
    return Rate(counters.requests, min(counters.requests, attempts))
