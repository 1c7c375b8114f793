"""One way for every task to fail: with one line that the user and the report can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bluegreen.errors import BlueGreenError

if TYPE_CHECKING:
    from airflow.sdk import Context

ERROR_KEY = "error"


@contextmanager
def failures_reported(context: Context) -> Iterator[None]:
    """Keep the text of a :class:`BlueGreenError` for the report, and fail the task with it.

    Airflow's retries are used for transient errors only.

    :raises AirflowException: for a transient error.
    :raises AirflowFailException: for any other.
    """
    try:
        yield
    except BlueGreenError as error:
        context["ti"].xcom_push(key=ERROR_KEY, value=str(error))
        failure = AirflowException if error.transient else AirflowFailException
        raise failure(str(error)) from None
