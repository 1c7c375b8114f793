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
    statuses: dict[UrlPath, Annotated[list[Status], Field(min_length=1)]] = {}
    bake: Annotated[float, Field(ge=1, le=LONGEST_BAKE)] = 30
    min_requests: Annotated[int, Field(ge=1)] = 30
    consecutive_failures: Annotated[int, Field(ge=2)] = 5
    max_error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.01
    max_retry_rate: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_median_ratio: Annotated[float, Field(gt=1)] = 3
    median_floor_ms: Annotated[float, Field(ge=0, le=4000)] = 10
    max_p99_ratio: Annotated[float, Field(gt=1)] = 5
    p99_floor_ms: Annotated[float, Field(ge=0, le=4000)] = 100
    confirm_within: Annotated[int, Field(ge=10, le=7200)] | None = None

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
