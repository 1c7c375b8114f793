"""A timeout for polling loops that reports what was still missing.

Airflow's own sensor timeout reports only that time is up. A loop asks a :class:`Deadline` at each look
instead; Airflow's timeout stays as the backstop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bluegreen.errors import BlueGreenError

T = TypeVar("T")


class Deadline:
    """A timeout that counts from its first check, so that time spent before the first look is free."""

    def __init__(self) -> None:
        self._start: float | None = None

    def check(self, seconds: float, error: BlueGreenError) -> None:
        """Return while there is time left.

        :param seconds: the timeout, counted from the first check.
        :param error: what is still missing.
        :raises BlueGreenError: with that text and the seconds waited, once the time is up.
        """
        if self._start is None:
            self._start = time.monotonic()
        if time.monotonic() - self._start >= seconds:
            raise BlueGreenError(f"{error} (waited {seconds:g} s)")


def poll(
    look: Callable[[], T | None],
    *,
    missing: str,
    every: float,
    deadline: Deadline,
    seconds: float,
    report: Callable[[BlueGreenError], object],
) -> T:
    """Look until something is there; errors that may pass are waited out like its absence.

    :param look: returns ``None`` while there is nothing.
    :param missing: what is missing then.
    :param every: seconds between two looks.
    :param deadline: the timeout, which several loops may share.
    :param seconds: its length.
    :param report: called before each pause with what is still missing, for the log.
    :return: what was found.
    :raises BlueGreenError: an error that is not transient, at once, or what was missing when the time was up.
    """
    while True:
        error = BlueGreenError(missing)
        try:
            if (found := look()) is not None:
                return found
        except BlueGreenError as failure:
            if not failure.transient:
                raise
            error = failure
        deadline.check(seconds, error)
        report(error)
        time.sleep(every)
