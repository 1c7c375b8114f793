"""One way for every task to fail: with one line that the user and the report can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from bluegreen.errors import BlueGreenError, NothingToDoError, PolicyError

if TYPE_CHECKING:
    from airflow.sdk import Context

ERROR_KEY = "error"
# Set beside it if the app's file is why.
POLICY_KEY = "refused_by_policy"
NOTHING_TO_DO_KEY = "nothing_to_do"


@contextmanager
def failures_reported(context: Context) -> Iterator[None]:
    """Keep the text of a :class:`BlueGreenError` for the report, and fail the task with it.

    Airflow's retries are used for transient errors only.

    :raises AirflowException: for a transient error.
    :raises AirflowFailException: for any other.
    :raises AirflowSkipException: if there is nothing to do, so that the tasks that follow are skipped too.

    Anything else is a mistake in this package: only its kind is kept for the report, since its text was not
    written for users and may hold anything.
    """
    try:
        yield
    except NothingToDoError as found:
        context["ti"].xcom_push(
            key=NOTHING_TO_DO_KEY, value={"outcome": found.outcome, "message": str(found)}
        )
        raise AirflowSkipException(str(found)) from None
    except BlueGreenError as error:
        context["ti"].xcom_push(key=ERROR_KEY, value=str(error))
        if isinstance(error, PolicyError):
            context["ti"].xcom_push(key=POLICY_KEY, value=True)
        failure = AirflowException if error.transient else AirflowFailException
        raise failure(str(error)) from None
    except AirflowException:
        raise
    except Exception as error:
        context["ti"].xcom_push(
            key=ERROR_KEY, value=f"unexpected {type(error).__name__} in {context['ti'].task_id}, see its log"
        )
        raise
