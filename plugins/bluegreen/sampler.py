"""Our own requests through the load balancers, as clients make them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from threading import Event, Thread
from types import TracebackType

import requests
from urllib3.exceptions import HTTPError

from bluegreen.analysis import Sample
from bluegreen.fleet import Droplet

# Seconds to wait for a connection, for the first byte, for every byte after it, and for the whole answer.
TIMEOUT = 5.0
CHUNK = 1 << 16

Target = tuple[str, Droplet]


class Visitor:
    """Asks load balancers for paths, one request at a time, over kept-alive connections.

    :param host: ``Host`` header; default: the address itself, which is answered by the live color.
    """

    def __init__(self, host: str | None = None) -> None:
        self._started = time.monotonic()
        self._session = requests.Session()
        # Airflow's own proxy settings are for the outside world, not for the fleet.
        self._session.trust_env = False
        if host is not None:
            self._session.headers["Host"] = host

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def ask(self, target: Target) -> Sample:
        """Make one GET request."""
        path, load_balancer = target
        start = time.monotonic()
        status, revision, error, lost = None, None, None, False
        try:
            with self._session.get(
                f"http://{load_balancer.public}{path}", timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as answer:
                revision = answer.headers.get("X-Revision")
                error = _broken_body(answer, start + TIMEOUT)
                status = answer.status_code if error is None else None
        except requests.RequestException as failure:
            error = type(failure).__name__
            # HAProxy answers for an app that does not: no connection means that there was no HAProxy.
            lost = isinstance(failure, requests.ConnectionError)
        return Sample(
            milliseconds=(time.monotonic() - start) * 1000,
            status=status,
            revision=revision,
            error=error,
            lost=lost,
            path=path,
            load_balancer=load_balancer.name,
            at=start - self._started,
        )


class Sampler:
    """Visitors who ask for each path through each load balancer in turn, in the background.

    Several, so that a slow path does not keep the others waiting; at a fixed rate, so that a quick app is not
    put under load.

    :param targets: what to ask whom.
    :param rate: requests a second, of all visitors together, over all targets.
    :param visitors: how many ask at the same time at most.
    :param host: as for :class:`Visitor`.
    """

    def __init__(
        self, targets: Sequence[Target], *, rate: float, visitors: int, host: str | None = None
    ) -> None:
        self.started = time.monotonic()
        self._targets = targets
        self._rate = rate
        self._visitors = visitors
        self._host = host
        self._samples: list[Sample] = []
        self._end = Event()

    def __enter__(self) -> Sampler:
        for number in range(self._visitors if self._targets else 0):
            # As daemons: a request that hangs must not delay a verdict.
            Thread(target=self._visit, args=(number,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def samples(self) -> list[Sample]:
        """Return what has been seen up to now."""
        return self._samples.copy()

    def _visit(self, number: int) -> None:
        # Each begins at another target, and at another moment.
        next_start, turn = self.started + number / self._rate, number
        with Visitor(self._host) as visitor:
            while not self._end.wait(max(0.0, next_start - time.monotonic())):
                self._samples.append(visitor.ask(self._targets[turn % len(self._targets)]))
                turn += 1
                next_start = max(next_start + self._visitors / self._rate, time.monotonic())


def targets_of(paths: Sequence[str], load_balancers: Sequence[Droplet]) -> list[Target]:
    """Return every path on every load balancer."""
    return list(product(paths, load_balancers))


def _broken_body(answer: requests.Response, deadline: float) -> str | None:
    """Read it, and say what is wrong with it.

    Not by requests' own means: they take a body that stalls for a connection that did not come about.
    """
    said = f"status {answer.status_code}, but the body"
    try:
        while answer.raw.read1(CHUNK):
            if time.monotonic() > deadline:
                return f"{said} was not whole after {TIMEOUT:g} s"
    except HTTPError as failure:
        return f"{said} broke off: {type(failure).__name__}"
    return None
