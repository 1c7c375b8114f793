"""A timeout for polling loops that reports what was still missing.

Airflow's sensor timeout reports only that time is up. At three in the morning the missing thing is what
matters, so a sensor checks this deadline at each poll, and Airflow's timeout stays as the backstop.
"""

from __future__ import annotations

import time

from bluegreen.errors import BlueGreenError


class Deadline:
    """Counts from the first check."""

    def __init__(self) -> None:
        self._start: float | None = None

    def check(self, seconds: float, error: BlueGreenError) -> None:
        """Return, unless the time is up.

        :param seconds: how long to wait in all.
        :param error: what is still missing.
        :raises BlueGreenError: with that text, once the time is up.
        """
        if self._start is None:
            self._start = time.monotonic()
        if time.monotonic() - self._start >= seconds:
            raise BlueGreenError(f"{error} (waited {seconds:g} s)")
