"""The evidence of a bake's verdict: how many requests, and of whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from bluegreen.validation.client_requests import ClientRequests
from bluegreen.validation.own_requests import Sample


class Evidence(BaseModel):
    """The evidence of a verdict.

    :param own_requests: the task's requests to the new color, to paths that prove something.
    :param paths: the number of those paths.
    :param unproven: the other paths of ``validation.paths``.
    :param client_requests: clients' requests to the new color since the switch, at least.
    :param few_clients: whether the clients' requests alone would be too few for a verdict.
    :param health_only: whether the only path is the health path, which an app may answer from a constant.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    own_requests: int
    paths: int
    unproven: tuple[str, ...] = ()
    client_requests: int
    few_clients: bool = False
    health_only: bool = False

    def __str__(self) -> str:
        """Return it as a clause of the report."""
        paths = f"{self.paths} path{'' if self.paths == 1 else 's'}"
        paths += " (the health path alone)" if self.health_only else ""
        without = f" (nothing from {', '.join(self.unproven)})" if self.unproven else ""
        clients = f"{self.client_requests:,}" if self.client_requests else "none"
        only = "only " if self.few_clients and self.client_requests else ""
        return (
            f"rests on {self.own_requests:,} own requests to {paths}{without} and {only}{clients} of clients"
        )


def proving_paths(paths: Collection[str], unproven: Collection[str], health_path: str) -> set[str]:
    """Return the paths that can prove a release good.

    The health path does not count once another path proves nothing: an app may answer it from a constant,
    and redirect, or refuse, everything else.

    :param paths: all of ``validation.paths``.
    :param unproven: the paths that the new release does not answer well.
    """
    proving = set(paths) - set(unproven)
    return proving - {health_path} if set(unproven) & set(paths) else proving


class ClientRequestCounter:
    """Counts clients' requests: all that HAProxy has counted, without the task's own."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, traffic: Iterable[ClientRequests], own: Sequence[Sample]) -> None:
        """Take the last reading of the counters.

        Own requests go on while the counters are read, so more of them may have been made than were counted.
        The result is therefore a lower bound.
        """
        for_each: dict[str, int] = {}
        for sample in own:
            for_each[sample.proxy] = for_each.get(sample.proxy, 0) + 1
        self.total = sum(max(0, one.since_switch.requests - for_each.get(one.proxy, 0)) for one in traffic)
