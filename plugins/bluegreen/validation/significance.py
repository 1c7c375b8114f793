"""Tests of significance: every verdict of a bake comes down to two statistical questions.

Both are answered exactly, by counting cases, as ``scipy.stats.binomtest`` and ``scipy.stats.fisher_exact``
do. The usual approximations (normal, Wilson's interval) are wrong for few and rare events.

Latency is judged by the same two tests: "the median is above a limit" means that more than half of the
requests took longer, "p99 is above it" that more than 1 % did. So nothing is assumed about the distribution
of latencies, and a single spike, for example by garbage collection, counts as one event.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log, log1p

# The probability with which chance may explain a finding. A limit is generous by itself, so a good release is
# far below it. The comparison with the old release has to be more certain: it is made at every look of every
# bake, and alone keeps shared problems from being held against the new release.
BEYOND_LIMIT = 0.01
BEYOND_OLD_RELEASE = 0.001


@dataclass(frozen=True)
class Rate:
    """The number of requests, and how many of them failed or were too slow."""

    requests: int
    failed: int

    def __add__(self, other: Rate) -> Rate:
        """Add two counts."""
        return Rate(self.requests + other.requests, self.failed + other.failed)

    @property
    def value(self) -> float:
        """Share of failures, 0 to 1; 0 without requests."""
        return self.failed / self.requests if self.requests else 0.0


def surely_worse(new: Rate, old: Rate, allowed: float) -> bool:
    """Whether a rate exceeds its limit and is worse than the old release's, and neither by chance.

    :param old: the old release; if it has no requests, only the limit counts.
    """
    return surely_more_often(new.failed, new.requests, allowed) and (
        not old.requests or surely_more_often_than_there(new.failed, new.requests, old.failed, old.requests)
    )


def surely_more_often(events: int, trials: int, rate: float) -> bool:
    """Whether events are more frequent than allowed, and not only by chance.

    The exact binomial test, one-sided: if the true rate were ``rate``, how often would there be this many
    events? Few trials prove little by themselves: against 1 %, 2 failures of 30 may be chance, 3 may not.

    :param events: the number of events.
    :param trials: the number of trials.
    :param rate: the allowed rate, 0 to 1 or more.
    """
    if events <= rate * trials:
        return False
    if rate <= 0:
        return True
    first = _log_choose(trials, events) + events * log(rate) + (trials - events) * log1p(-rate)
    total = term = exp(first)
    for count in range(events, trials):
        term *= (trials - count) / (count + 1) * rate / (1 - rate)
        total += term
    return total < BEYOND_LIMIT


def surely_more_often_than_there(events: int, trials: int, events_there: int, trials_there: int) -> bool:
    """Whether events are more frequent here than there, and not only by chance.

    Fisher's exact test, one-sided: if the events were distributed over all trials at random, how often would
    this many of them be here? A comparison with few trials proves little: 9 failures of 100 do not differ
    significantly from none of 20.

    :param events: the number of events here.
    :param trials: the number of trials here.
    :param events_there: the number of events there.
    :param trials_there: the number of trials there.
    """
    both, all_trials = events + events_there, trials + trials_there
    if events * trials_there <= events_there * trials:
        return False
    ways = _log_choose(all_trials, both)
    total = 0.0
    for count in range(events, min(both, trials) + 1):
        total += exp(_log_choose(trials, count) + _log_choose(trials_there, both - count) - ways)
    return total < BEYOND_OLD_RELEASE


def _log_choose(things: int, chosen: int) -> float:
    """Return the logarithm of a binomial coefficient."""
    return lgamma(things + 1) - lgamma(chosen + 1) - lgamma(things - chosen + 1)
