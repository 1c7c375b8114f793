"""An own end of patience for whatever looks again and again.

Airflow's sensor timeout says only that time is up; at three in the morning one wants to read what was not
there. So a sensor asks this at each look, and Airflow's timeout stays as the backstop.
"""

from __future__ import annotations

import time

from bluegreen.errors import BlueGreenError


class Deadline:
    """Counts from the first check."""

    def __init__(self) -> None:
        self._start: float | None = None

    def check(self, seconds: float, error: BlueGreenError) -> None:
        """Go on, unless time is up.

        :param seconds: how long to be patient.
        :param error: what is not there yet.
        :raises BlueGreenError: with that text, once the time is up.
        """
        if self._start is None:
            self._start = time.monotonic()
        if time.monotonic() - self._start >= seconds:
            raise BlueGreenError(f"{error} (waited {seconds:g} s)")
