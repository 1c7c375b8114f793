"""Errors of the demo, each a message of one line."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on; the message describes what, why, and where to look."""


class ApiError(DemoError):
    """Airflow's API refused a request.

    :param status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiUnreachableError(DemoError):
    """Airflow's API did not answer, or not with what an API answers."""


class RunTimeoutError(DemoError):
    """A DAG run has not ended in time."""
