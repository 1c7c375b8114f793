"""Is the new color good enough to keep? Pure arithmetic over what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

# Below this, a slow 1 % is a matter of scheduling on a small machine rather than of the release.
P99_FLOOR_MILLISECONDS = 100.0


@dataclass(frozen=True)
class Sample:
    """One request of our own through a load balancer.

    :param milliseconds: from sending to the last byte.
    :param status: HTTP status, or ``None`` if there was no answer.
    :param revision: what the answer's ``X-Revision`` says.
    :param error: why there was no answer.
    """

    milliseconds: float
    status: int | None
    revision: str | None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether a client would call it a failure: no answer, or 5xx."""
        return self.status is None or self.status >= 500


@dataclass(frozen=True)
class Limits:
    """When to give the traffic back; the app's ``validation`` settings.

    :param min_requests: no verdict on rates before so many requests.
    :param max_error_rate: 0 to 1, above the rate before the switch.
    :param max_p99_ratio: p99 after the switch divided by p99 before it.
    """

    min_requests: int
    max_error_rate: float
    max_p99_ratio: float


@dataclass(frozen=True)
class Rate:
    """Requests, and how many of them failed."""

    requests: int
    failed: int

    @property
    def value(self) -> float:
        """Share of failures, 0 to 1; 0 without requests."""
        return self.failed / self.requests if self.requests else 0.0


def p99(samples: Sequence[Sample]) -> float | None:
    """Return the 99th percentile of the answered requests in milliseconds, or ``None`` for fewer than 20."""
    times = [sample.milliseconds for sample in samples if sample.status is not None]
    return quantiles(times, n=100)[-1] if len(times) >= 20 else None


def wrong_revision(samples: Sequence[Sample], revision: str) -> str | None:
    """Say which other revision answered; the app's own 5xx count, HAProxy's and lost answers do not."""
    for sample in samples:
        if sample.status is not None and sample.status < 500 and sample.revision != revision:
            return f"an answer came from {sample.revision or 'an unknown release'} instead of {revision}"
    return None


def too_many_errors(what: str, seen: Rate, before: Rate, limits: Limits) -> str | None:
    """Say why a rate of failures is too high, or ``None`` if it is not, or not enough was seen."""
    if seen.requests < limits.min_requests or seen.value <= before.value + limits.max_error_rate:
        return None
    return (
        f"{seen.failed} of {seen.requests} {what} failed ({seen.value:.1%}; "
        f"before the switch {before.value:.1%}, allowed are {limits.max_error_rate:.1%} more)"
    )


def too_slow(seen: Sequence[Sample], before: Sequence[Sample], limits: Limits) -> str | None:
    """Say why the slowest 1 % is too slow compared with before, or ``None``."""
    now, then = p99(seen), p99(before)
    if now is None or then is None or now <= max(P99_FLOOR_MILLISECONDS, then * limits.max_p99_ratio):
        return None
    return (
        f"p99 is {now:.0f} ms, before the switch it was {then:.0f} ms "
        f"(allowed is a ratio of {limits.max_p99_ratio:g})"
    )


def rate_of(samples: Sequence[Sample]) -> Rate:
    """Count the samples and the failed ones."""
    return Rate(len(samples), sum(sample.failed for sample in samples))
