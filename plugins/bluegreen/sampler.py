"""Our own requests through the load balancers, as a client makes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import requests

from bluegreen.analysis import Sample

TIMEOUT = 5.0


class Sampler:
    """Asks each load balancer for each path in turn, over kept-alive connections.

    :param addresses: public addresses of the load balancers.
    :param paths: paths to ask for, with GET.
    :param host: ``Host`` header; default: the address itself, which is answered by the live color.
    """

    def __init__(self, addresses: Sequence[str], paths: Sequence[str], host: str | None = None) -> None:
        self._urls = [f"http://{address}{path}" for address in addresses for path in paths]
        self._session = requests.Session()
        # Airflow's own proxy settings are for the outside world, not for the fleet.
        self._session.trust_env = False
        if host is not None:
            self._session.headers["Host"] = host

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def round(self) -> list[Sample]:
        """Make one request to each URL."""
        return [self._sample(url) for url in self._urls]

    def rounds(self, seconds: float, interval: float) -> list[Sample]:
        """Make rounds for a while.

        :param seconds: how long.
        :param interval: seconds from one round's end to the next one's start.
        """
        samples: list[Sample] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            samples += self.round()
            time.sleep(interval)
        return samples

    def _sample(self, url: str) -> Sample:
        start = time.monotonic()
        try:
            answer = self._session.get(url, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            return Sample(_since(start), None, None, type(error).__name__)
        return Sample(_since(start), answer.status_code, answer.headers.get("X-Revision"))


def _since(start: float) -> float:
    return (time.monotonic() - start) * 1000
