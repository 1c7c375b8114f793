"""Airflow connections; a missing one is an error with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from bluegreen.errors import SettingsError

if TYPE_CHECKING:
    from airflow.sdk import Connection


@contextmanager
def usable_connection(conn_id: str) -> Iterator[None]:
    """Turn Airflow's errors about a missing or wrong connection into one line.

    :param conn_id: the connection that the ``with`` block uses.
    :raises SettingsError: naming the connection.
    """
    try:
        yield
    except AirflowNotFoundException:
        raise SettingsError(
            f"there is no Airflow connection {conn_id!r}; create it, or name another in the app's settings"
        ) from None
    except (AirflowException, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"the Airflow connection {conn_id!r} is not usable: {reason}") from None


def get_connection(conn_id: str) -> Connection:
    """Return an Airflow connection.

    :raises SettingsError: if it is missing or not usable.
    """
    with usable_connection(conn_id):
        return BaseHook.get_connection(conn_id)
