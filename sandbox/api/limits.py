"""DigitalOcean's rate limits: per hour, per minute, and a tighter one on the list of keys."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

from sandbox.api.errors import too_many_requests

HOUR, MINUTE = 3600, 60


class Limits:
    """Counts requests in sliding windows.

    :param hourly: requests an hour.
    :param burst: requests a minute; beyond that, the answer has Retry-After.
    :param key_lists: requests a minute for the list of SSH keys.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        hourly: int = 5000,
        burst: int = 250,
        key_lists: int = 10,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hourly = hourly
        self.burst = burst
        self.key_lists = key_lists
        self._clock = clock
        self._seen: dict[str, deque[float]] = defaultdict(deque)

    def count(self, method: str, path: str) -> None:
        """Count a request.

        :raises ApiError: 429, if it is one too many.
        """
        windows = [("hour", self.hourly, HOUR), ("minute", self.burst, MINUTE)]
        if (method, path) == ("GET", "/v2/account/keys"):
            windows.append(("keys", self.key_lists, MINUTE))
        for name, limit, seconds in windows:
            if len(self._recent(name, seconds)) >= limit:
                wait = int(self._seen[name][0] + seconds - self._clock()) + 1
                raise too_many_requests({"retry-after": str(wait)} if seconds == MINUTE else None)
        for name, _, _ in windows:
            self._seen[name].append(self._clock())

    def reset(self) -> None:
        """Forget all requests so far."""
        self._seen.clear()

    def headers(self) -> dict[str, str]:
        """Return the headers that each answer carries."""
        recent = self._recent("hour", HOUR)
        oldest = recent[0] if recent else self._clock()
        return {
            "ratelimit-limit": str(self.hourly),
            "ratelimit-remaining": str(max(0, self.hourly - len(recent))),
            "ratelimit-reset": str(int(oldest + HOUR)),
        }

    def _recent(self, name: str, seconds: int) -> deque[float]:
        seen = self._seen[name]
        while seen and seen[0] <= self._clock() - seconds:
            seen.popleft()
        return seen
