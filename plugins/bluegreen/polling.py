"""Waiting with an end that reports what was still missing.

Airflow's own sensor timeout reports only that time is up. A loop asks a :class:`Deadline` at each look
instead; Airflow's timeout stays as the backstop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
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


def in_thread(
    work: Callable[[], T],
    *,
    meanwhile: Callable[[], object],
    every: float,
    seconds: float,
    late: BlueGreenError,
) -> T:
    """Do something that blocks, while something else has to go on, such as the renewal of a lock.

    Work that is given up goes on in its thread until it ends by itself, or until the process ends.

    :param meanwhile: called as long as it takes; what it raises ends the wait.
    :param every: seconds between two calls of it.
    :param seconds: after which the work is given up.
    :param late: raised then.
    :return: what the work returns; what it raises is raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:  # it is raised again below
            errors.append(error)

    thread = Thread(target=attempt, daemon=True)
    thread.start()
    ends = time.monotonic() + seconds
    while thread.is_alive():
        thread.join(every)
        meanwhile()
        if thread.is_alive() and time.monotonic() > ends:
            raise late
    if errors:
        raise errors[0]
    return results[0]
