"""How sure numbers make us: the two statistical questions that everything in a bake comes down to.

Both are answered exactly, by counting cases. The usual approximations (normal, Wilson's interval) are wrong
where it matters here: for few and rare events.

Latency is judged by the same two: "the median is above a limit" means that more than half of the requests
took longer, "p99 is above it" that more than 1 % did. So nothing is assumed about how latencies are
distributed, and a single spike, as garbage collection makes them, is one event and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log, log1p

# In how many cases chance may explain a finding. A limit is generous by itself, so that a good release is far
# below it. That the old release is better is what keeps everybody else's trouble from being the new one's
# fault, at every look of every bake, so it must be surer.
BEYOND_LIMIT = 0.01
BEYOND_OLD_RELEASE = 0.001


@dataclass(frozen=True)
class Rate:
    """How many of how many requests failed, or were too slow."""

    requests: int
    failed: int

    def __add__(self, other: Rate) -> Rate:
        """Both together."""
        return Rate(self.requests + other.requests, self.failed + other.failed)

    @property
    def value(self) -> float:
        """Share of failures, 0 to 1; 0 without requests."""
        return self.failed / self.requests if self.requests else 0.0


def surely_worse(new: Rate, old: Rate, allowed: float) -> bool:
    """Tell whether a rate is beyond what is allowed and worse than the old release's, and neither by chance.

    :param old: without requests, there is no old release, and only the limit counts.
    """
    return surely_more_often(new.failed, new.requests, allowed) and (
        not old.requests or surely_more_often_than_there(new.failed, new.requests, old.failed, old.requests)
    )


def surely_more_often(events: int, trials: int, rate: float) -> bool:
    """Tell whether something happens more often than allowed, and not only by chance.

    The exact binomial test, one-sided: if the true rate were ``rate``, how often would so many be seen?
    Few trials prove little by themselves: against 1 %, 2 failures of 30 may be chance, 3 may not.

    :param events: how often it happened.
    :param trials: how often it could have happened.
    :param rate: how often it may, 0 to 1 or more.
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
    """Tell whether something happens more often here than there, and not only by chance.

    Fisher's exact test, one-sided: if the events had been dealt out to all trials blindly, how often would so
    many of them be here? A comparison with few trials proves little: that none of 20 failed before the switch
    does not make 9 failures of 100 a difference.

    :param events: how often it happened here.
    :param trials: how often it could have happened here.
    :param events_there: how often it happened there.
    :param trials_there: how often it could have happened there.
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
    """Logarithm of the number of ways to choose some of many things."""
    return lgamma(things + 1) - lgamma(chosen + 1) - lgamma(things - chosen + 1)
