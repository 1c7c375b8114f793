"""The task's own requests through the proxies, made the way clients make them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from threading import Event, Thread
from types import TracebackType
from typing import Self

from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.app import App
from bluegreen.traffic.good_answer import one_line
from bluegreen.traffic.haproxy_config import NO_PREVIEW_STATUS
from bluegreen.traffic.preview_key import PREVIEW_KEY_HEADER
from bluegreen.validation.bounded_http import BoundedHttp, NotConnectedError
from bluegreen.validation.own_requests import Sample

# Seconds for a whole request, from the connection to the last byte.
TIMEOUT = 5.0

# Seconds to wait for requests in flight when a bake ends, with time to notice their end.
LAST_REQUESTS = TIMEOUT + 1.0

# HAProxy itself has refused, because an app's answer would state its revision.
KEY_REFUSED = "HAProxy does not know this preview key: its connection has changed since the last deploy"

Target = tuple[str, Droplet]


@dataclass(frozen=True)
class ProbeOptions:
    """How requests are made.

    :param headers: the request's headers; without ``Host`` the host is the proxy's address, which leads to
        the live color.
    :param statuses: statuses of a good answer, by path; 200 to 299 for other paths.
    :param by_preview: whether requests go to the idle color, which HAProxy may refuse to show.
    """

    headers: Mapping[str, str]
    statuses: Mapping[str, Sequence[int]]
    by_preview: bool = False

    @classmethod
    def of_clients(cls, app: App, key: str) -> Self:
        """Request the live color as clients do: HAProxy takes the scheme from who has the preview key."""
        host = app.traffic.public_host
        return cls({PREVIEW_KEY_HEADER: key} | ({"Host": host} if host else {}), app.validation.statuses)

    @classmethod
    def of_preview(cls, app: App, key: str) -> Self:
        """Request the idle color; its app sees what it would see from clients."""
        headers = {PREVIEW_KEY_HEADER: key, "Host": app.traffic.preview_host}
        return cls(headers, app.validation.statuses, by_preview=True)


class ProbeClient:
    """Requests paths from proxies, one at a time, over kept-alive connections."""

    def __init__(self, options: ProbeOptions) -> None:
        self._started = time.monotonic()
        self._options = options
        self._http = BoundedHttp()

    def __enter__(self) -> ProbeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, target: Target) -> Sample:
        """Make one GET request."""
        path, proxy = target
        start = time.monotonic()
        status, revision, error, size, location, lost = None, None, None, None, None, False
        try:
            answer = self._http.get(str(proxy.public), path, self._options.headers, TIMEOUT)
            revision, error, size = answer.revision, answer.error, answer.size
            status = answer.status if error is None else None
            location = one_line(answer.location) if answer.location else None
        except NotConnectedError as failure:
            # HAProxy answers in place of a silent app, so no connection means that there was no HAProxy.
            error, lost = str(failure), True
        if self._options.by_preview and status == NO_PREVIEW_STATUS and revision is None:
            status, error, lost = None, KEY_REFUSED, True
        return Sample(
            milliseconds=(time.monotonic() - start) * 1000,
            status=status,
            revision=revision,
            error=error,
            lost=lost,
            path=path,
            proxy=proxy.name,
            at=start - self._started,
            statuses=tuple(self._options.statuses.get(path, ())),
            size=size,
            location=location,
        )


class Sampler:
    """Background threads that request each path through each proxy in turn.

    There are several, so that a slow path does not delay the others. They have a fixed rate, so that a fast
    app is not put under load.

    :param targets: the paths and proxies to request.
    :param rate: requests per second, of all threads together, over all targets.
    :param clients: the most requests at the same time.
    :param options: how requests are made.
    """

    def __init__(
        self, targets: Sequence[Target], *, rate: float, clients: int, options: ProbeOptions
    ) -> None:
        self.started = time.monotonic()
        self._targets = targets
        self._rate = rate
        self._clients = clients
        self._options = options
        self._threads: list[Thread] = []
        self._samples: list[Sample] = []
        self._end = Event()

    def __enter__(self) -> Sampler:
        for number in range(self._clients if self._targets else 0):
            # Daemon threads: a request that hangs must not delay a verdict.
            thread = Thread(target=self._probe, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def samples(self) -> list[Sample]:
        """Return the requests that have ended so far."""
        return self._samples.copy()

    def stop(self) -> None:
        """Begin no more requests."""
        self._end.set()

    def finish(self) -> list[Sample]:
        """Begin no more requests, wait for those in flight, and return all.

        Without the requests in flight, exactly the ones that hang would be missing.
        """
        self.stop()
        deadline = time.monotonic() + LAST_REQUESTS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self.samples()

    def _probe(self, number: int) -> None:
        # Each begins at another target, and at another moment.
        next_start, turn = self.started + number / self._rate, number
        with ProbeClient(self._options) as client:
            while not self._end.wait(max(0.0, next_start - time.monotonic())):
                self._samples.append(client.ask(self._targets[turn % len(self._targets)]))
                turn += 1
                next_start = max(next_start + self._clients / self._rate, time.monotonic())


def targets_of(paths: Sequence[str], proxies: Sequence[Droplet]) -> list[Target]:
    """Return every path on every proxy."""
    return list(product(paths, proxies))
