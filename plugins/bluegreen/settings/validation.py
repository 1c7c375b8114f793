"""When a switch is good enough to keep: the section ``validation``."""

from __future__ import annotations

from math import ceil, inf
from typing import Annotated, Self

from pydantic import Field, model_validator

from bluegreen.settings.fields import UrlPath
from bluegreen.settings.section import Section

# Requests per second to each color during a bake, over all paths: the lowest rate that reliably detects 5 %
# errors within ten seconds.
OWN_REQUESTS_PER_SECOND = 50.0

LONGEST_BAKE = 3600.0

# The HTTP statuses of a final answer: 1xx is not final.
STATUSES = range(200, 600)

Status = Annotated[int, Field(ge=STATUSES[0], le=STATUSES[-1], strict=True)]


class ValidationSettings(Section):
    """When a switch is good enough to keep."""

    paths: Annotated[list[UrlPath], Field(min_length=1)] = ["/"]
    """Paths that are asked through the proxies, with GET: 50 requests a second to each color, over all paths.
    Each path is judged by itself. A path that failed before the switch, too, is a warning until it gets
    worse. If neither color answers any path well, a deploy is refused; the health path is no proof then.
    List pages that need what the app needs, such as a database: a page that is answered from a constant
    proves little. A good answer is whole within 5 s, at most 8 MiB large, and not empty where the old
    release's is not.
    """
    statuses: dict[UrlPath, Annotated[list[Status], Field(min_length=1)]] = {}
    """Which statuses are good answers to one of `paths` or to `health.path`, by path, instead of 200 to 299.
    Everything else is a failure, a redirect included. For example {/: [302], /admin: [401]}.
    """
    bake: Annotated[float, Field(ge=1, le=LONGEST_BAKE)] = 30
    """Seconds that the new color is watched before the switch is confirmed."""
    min_requests: Annotated[int, Field(ge=1)] = 30
    """Requests to a path, and of clients to a proxy, before any verdict on rates and times."""
    consecutive_failures: Annotated[int, Field(ge=2)] = 5
    """Own requests in a row to one path, through one proxy, that fail: a verdict at once, without waiting for
    `min_requests`. Not for a path that failed before the switch. The bake also asks `health.path` for
    this.
    """
    max_error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of requests that may fail, above that of the old release. Of own requests to each path, those
    without a good answer count; of clients' requests on each proxy, those that are answered with 5xx.
    """
    max_retry_rate: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of requests that HAProxy may have to retry because a server did not take them, above that before.
    """
    max_median_ratio: Annotated[float, Field(gt=1)] = 3
    """How many times slower the median may get: of own requests to each path, and of the average of clients'
    requests.
    """
    median_floor_ms: Annotated[float, Field(ge=0, le=4000)] = 10
    """A median up to this many milliseconds is fast enough, whatever it was before."""
    max_p99_ratio: Annotated[float, Field(gt=1)] = 5
    """How many times slower the slowest 1 % of own requests to each path may get."""
    p99_floor_ms: Annotated[float, Field(ge=0, le=4000)] = 100
    """A 99th percentile up to this many milliseconds is fast enough, whatever it was before."""
    confirm_within: Annotated[Annotated[int, Field(ge=10, le=7200)] | None, Field(examples=[90])] = None
    """Seconds after which the proxies revert an unconfirmed switch by themselves; default: bake + 60."""

    @model_validator(mode="after")
    def _enough_requests(self) -> Self:
        """Refuse a limit that needs more requests than a bake can make: it would never apply."""
        possible = int(self.bake * OWN_REQUESTS_PER_SECOND / len(self.paths))
        for key in ("min_requests", "consecutive_failures"):
            if getattr(self, key) > possible:
                raise ValueError(
                    f"{key} is {getattr(self, key)}, but a bake of {self.bake:g} s has room for {possible} "
                    f"own requests to each of {len(self.paths)} paths; make it smaller, the bake longer, "
                    "or the paths fewer"
                )
        return self

    @model_validator(mode="after")
    def _time_to_confirm(self) -> Self:
        """Refuse a switch that would revert during its bake: it could never be confirmed."""
        if self.confirm_within is not None and self.confirm_within < self.bake + 10:
            raise ValueError(f"confirm_within must be at least bake + 10, which is {self.bake + 10:g}")
        return self

    @property
    def shortest_bake(self) -> float:
        """The shortest bake, in whole seconds, in which every limit can apply; at most ``bake``."""
        needed = max(self.min_requests, self.consecutive_failures) * len(self.paths)
        return min(self.bake, max(1, ceil(needed / OWN_REQUESTS_PER_SECOND)))

    def with_bake(self, bake: float) -> ValidationSettings:
        """Return the same settings with another bake time, and more time to confirm if that is needed.

        :param bake: seconds, at least :attr:`shortest_bake`.
        """
        long_enough = self.confirm_within is not None and self.confirm_within >= bake + 10
        confirm_within = self.confirm_within if long_enough else None
        return self.model_validate({**self.model_dump(), "bake": bake, "confirm_within": confirm_within})

    def without_latency_limits(self) -> ValidationSettings:
        """Return the same settings with every limit on latency lifted."""
        return self.model_copy(update=dict.fromkeys(("max_median_ratio", "max_p99_ratio"), inf))

    @property
    def seconds_to_confirm(self) -> int:
        """Seconds after which an unconfirmed switch reverts by itself; the bake plus 60 unless set."""
        return self.confirm_within or int(self.bake) + 60
